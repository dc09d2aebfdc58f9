"""TensorFlow without its greeting, and failed writes without their echoes."""

from __future__ import annotations

import functools
import gc
import logging
import os
import sys
import tempfile


def load_tensorflow() -> None:
    """Imports TensorFlow without its greeting.

    Its C++ side writes half a page about missing accelerators to standard error when it is loaded,
    whatever its log level: nobody would find the line that matters. A failure shows all of it.
    Keras, which it loads, does without scikit-learn where there is none: a second less. Another is
    what the garbage collector would take, looking again and again at modules that stay.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    hides_sklearn = "sklearn" not in sys.modules
    if hides_sklearn:
        sys.modules["sklearn"] = None  # type: ignore[assignment]
    gc.disable()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as greeting:
        standard_error = os.dup(2)
        os.dup2(greeting.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except BaseException:
            greeting.seek(0)
            os.write(standard_error, greeting.read())
            raise
        finally:
            if hides_sklearn:
                del sys.modules["sklearn"]
            os.dup2(standard_error, 2)
            os.close(standard_error)
            gc.freeze()
            gc.enable()


@functools.cache  # once a process
def hush_echoes() -> None:
    """Leaves out what Python says of a checkpoint's other writes when one has failed and is told.

    Orbax closes its loop at the first write that fails. Nobody asks what became of the others
    ("never retrieved"), and those that end find the loop closed: each would be a traceback.
    """
    hook = sys.unraisablehook

    def but_closed_loops(unraisable: sys.UnraisableHookArgs) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            hook(unraisable)

    sys.unraisablehook = but_closed_loops
    logging.getLogger("asyncio").addFilter(
        lambda record: "never retrieved" not in record.getMessage()
    )
