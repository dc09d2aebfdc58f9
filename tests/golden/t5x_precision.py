"""What T5X computes in float64, and how far its own float32 lies from that.

A golden number in float32 is one processor's rounding. So the files hold float64, and beside each
array `error/<name>`: the largest distance of T5X's float32 from it among `INSTRUCTION_SETS`. A test
allows our float32 `MULTIPLE` times that distance (`assert_as_precise_as_t5x`).

Only `tests/golden/make_t5x_*.py` need T5X; tests import the comparison alone.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

# XLA's names; "" is all that the machine has. Each orders a sum of products in its own way.
INSTRUCTION_SETS = ("", "AVX2", "SSE4_2")
# Two float32 programs of one formula differ by the order of their sums. Both errors are draws of
# one distribution, so their largest values over an array are of one size: a factor of four is left
# for the luck of small arrays. A wrong formula is thousands of times away.
MULTIPLE = 4

Arrays = dict[str, np.ndarray]


def assert_as_precise_as_t5x(ours: Any, golden: Mapping[str, np.ndarray], name: str) -> None:
    """`ours` lies within `MULTIPLE` times the distance of T5X's float32 from the truth."""
    allowed = MULTIPLE * float(golden[f"error/{name}"])
    np.testing.assert_allclose(
        np.asarray(ours, np.float64), golden[name], rtol=0, atol=allowed, err_msg=name
    )


class _Float64Numpy:
    """`jax.numpy`, in which float32 means float64."""

    def __getattr__(self, name: str) -> Any:
        import jax.numpy as jnp

        return getattr(jnp, "float64" if name == "float32" else name)


@contextlib.contextmanager
def float64(modules: Sequence[ModuleType]) -> Iterator[None]:
    """T5X's modules compute in float64 where they ask `jnp` for float32."""
    import jax

    before = [module.jnp for module in modules]
    with jax.enable_x64(True):
        for module in modules:
            module.jnp = _Float64Numpy()
        try:
            yield
        finally:
            for module, numpy in zip(modules, before, strict=True):
                module.jnp = numpy


def measured(in_float32: Callable[[], Arrays], in_float64: Callable[[], Arrays]) -> Arrays:
    """The float64 arrays and, as `error/<name>`, how far float32 lies from each.

    The calling script runs itself once for each instruction set, since XLA reads its flags but
    once; there this function ends the script.
    """
    if sys.argv[1:2] == ["--float32"]:
        np.savez(sys.argv[2], **in_float32())
        sys.exit()
    truth = in_float64()
    # Where T5X's float32 hit the truth by luck, float32's spacing is what it could have missed.
    errors = {
        f"error/{name}": float(np.spacing(np.float32(np.max(np.abs(value)))))
        for name, value in truth.items()
    }
    for instruction_set in INSTRUCTION_SETS:
        for name, value in _run_again(instruction_set).items():
            distance = float(np.max(np.abs(value.astype(np.float64) - truth[name])))
            errors[f"error/{name}"] = max(errors[f"error/{name}"], distance)
    for name, error in errors.items():
        value = truth[name.removeprefix("error/")]
        print(f"{name}: {error:.2e} of {np.sqrt(np.mean(np.square(value))):.2e}")
    return {**truth, **errors}


def _run_again(instruction_set: str) -> Arrays:
    flags = [f"--xla_cpu_max_isa={instruction_set}"] if instruction_set else []
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "float32.npz")
        environment = {**os.environ, "XLA_FLAGS": " ".join(flags)}
        subprocess.run(
            [sys.executable, sys.argv[0], "--float32", path], env=environment, check=True
        )
        with np.load(path) as arrays:
            return dict(arrays)
