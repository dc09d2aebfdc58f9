"""TensorFlow without its greeting, and failed writes without their echoes."""

from __future__ import annotations

import functools
import gc
import logging
import os
import sys
import tempfile
import types

# What TensorFlow loads if it is there and is never used here: Keras, which takes a quarter of the
# time that loading takes. Whoever asks for `tf.keras` later gets it.
_UNUSED = "keras"
_ITS_LAYERS = "tensorflow_text.python.keras"


def load_tensorflow() -> None:
    """Imports TensorFlow without its greeting and without Keras.

    Its C++ side writes half a page about missing accelerators to standard error when it is loaded,
    whatever its log level: nobody would find the line that matters. A failure shows all of it.
    Without Keras, and without the garbage collector looking again and again at modules that stay,
    commands start two seconds earlier; TensorFlow Text's layers for Keras are left out with it.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    hides_keras = _UNUSED not in sys.modules
    if hides_keras:
        sys.modules[_UNUSED] = None  # type: ignore[assignment]
        sys.modules.setdefault(_ITS_LAYERS, types.ModuleType(_ITS_LAYERS))
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
            if hides_keras:
                del sys.modules[_UNUSED]
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
