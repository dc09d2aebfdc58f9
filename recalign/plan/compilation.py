"""Compiles a traced program for a slice that is not there, and reads what the compiler says."""

import dataclasses
import math
import re
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from recalign.errors import UserError
from recalign.plan.programs import Program
from recalign.plan.traffic import traffic

# What jax 0.10 raises under XLA's own name for memory that does not suffice.
_NO_MEMORY = "RESOURCE_EXHAUSTED"
_TOO_LARGE = 2**50
_LEAST_KEPT = "jax_persistent_cache_min_compile_time_secs"


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A program's demands, a chip and a run; `refusal` where the compiler found no room for it."""

    flops: float  # in matrix products, every turn of every loop
    memory_bytes: float | None  # through HBM; None where it was not compiled to the end
    link_bytes: float | None  # over the links
    arguments: int | None  # bytes of what goes in, the state among it
    # Bytes that live while the program runs, gradients and activations among them.
    temporary: int | None
    # Arguments, results that do not take the place of arguments, temporaries, and code.
    peak: int | None
    refusal: str | None  # the compiler's message
    seconds: float  # that compilation took

    @property
    def fits(self) -> bool:
        return self.refusal is None


def compile_program(program: Program, chips: int) -> Compiled:
    """Raises nothing where memory does not suffice: that is an answer."""
    started = time.perf_counter()
    flops = matmul_flops(program.traced.jaxpr, while_turns=program.while_turns) / chips
    try:
        compiled = _compiled(program.traced)
    except jax.errors.JaxRuntimeError as error:
        if _NO_MEMORY not in str(error):
            raise
        # Without the list of allocations that may follow.
        said = " ".join(str(error).strip().splitlines()[0].split())
        seconds = time.perf_counter() - started
        return Compiled(flops, None, None, None, None, None, said, seconds)
    memory = compiled.memory_analysis()
    moved = traffic(compiled.as_text(), while_turns=program.while_turns)
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    held = memory.argument_size_in_bytes + results + memory.temp_size_in_bytes
    return Compiled(
        flops=flops,
        memory_bytes=moved.memory_bytes,
        link_bytes=moved.link_bytes,
        arguments=memory.argument_size_in_bytes,
        temporary=memory.temp_size_in_bytes,
        peak=held + memory.generated_code_size_in_bytes,
        refusal=None,
        seconds=time.perf_counter() - started,
    )


def matmul_flops(jaxpr: Any, *, while_turns: int = 1) -> float:
    """Multiplications and additions in the matrix products of a jaxpr, over all devices.

    XLA's own analysis counts the body of a loop once, however often it runs; a stack of 24 scanned
    layers would seem to cost what one costs. `while_turns`: how often a loop runs whose end depends
    on what it computes.
    """
    total = 0.0
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        name, parameters = equation.primitive.name, equation.params
        if name == "dot_general":
            total += _dot_flops(equation)
            continue
        turns = {"scan": parameters.get("length"), "while": while_turns}.get(name, 1)
        inner = [matmul_flops(part, while_turns=while_turns) for part in _inner(parameters)]
        if inner:
            total += turns * (max(inner) if name == "cond" else sum(inner))
    return total


def _dot_flops(equation: Any) -> float:
    (left_contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    summed = math.prod(left[axis] for axis in left_contracted)
    return 2.0 * math.prod(equation.outvars[0].aval.shape) * summed


def _inner(parameters: dict[str, Any]) -> Iterator[Any]:
    for value in parameters.values():
        for part in value if isinstance(value, (tuple, list)) else (value,):
            if hasattr(part, "eqns") or hasattr(getattr(part, "jaxpr", None), "eqns"):
                yield part


def available_bytes(device: Any) -> int:
    """The part of a chip's memory that programs may use: what XLA says of one that cannot fit."""
    shape = jax.ShapeDtypeStruct((_TOO_LARGE,), jnp.int8, sharding=SingleDeviceSharding(device))
    try:
        _compiled(jax.jit(lambda x: x + 1).trace(shape))
    except jax.errors.JaxRuntimeError as error:
        if found := re.search(r"available HBM \(([\d.]+)G\)|of ([\d.]+)G hbm", str(error)):
            return int(float(found[1] or found[2]) * 2**30)
        raise UserError(f"XLA does not say how much memory a chip has: {error}") from error
    raise UserError("XLA's TPU compiler took a program of a pebibyte to fit a chip")


def _compiled(traced: Any) -> Any:
    """Compiles for the TPU, past JAX's persistent cache: without a chip nothing is read from it."""
    least = getattr(jax.config, _LEAST_KEPT)
    jax.config.update(_LEAST_KEPT, float("inf"))
    try:
        return traced.lower(lowering_platforms=("tpu",)).compile()
    finally:
        jax.config.update(_LEAST_KEPT, least)
