"""Compiles a traced program for a slice that is not there, and reads what the compiler says."""

import dataclasses
import re
import time
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from recalign.errors import UserError
from recalign.plan.flops import matmul_flops
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
    # The same and XLA's own count, both with a loop's body counted once: they should agree but for
    # what is no matrix product.
    flops_loops_once: float
    xla_flops: float | None
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
    jaxpr, turns = program.traced.jaxpr, program.while_turns
    flops = matmul_flops(jaxpr, while_turns=turns) / chips
    once = matmul_flops(jaxpr, loops_once=True) / chips
    try:
        compiled = _compiled(program.traced)
    except jax.errors.JaxRuntimeError as error:
        if _NO_MEMORY not in str(error):
            raise
        # Without the list of allocations that may follow.
        said = " ".join(str(error).strip().splitlines()[0].split())
        seconds = time.perf_counter() - started
        return Compiled(flops, once, None, None, None, None, None, None, said, seconds)
    memory = compiled.memory_analysis()
    moved = traffic(compiled.as_text(), while_turns=turns)
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    held = memory.argument_size_in_bytes + results + memory.temp_size_in_bytes
    return Compiled(
        flops=flops,
        flops_loops_once=once,
        xla_flops=float(compiled.cost_analysis()["flops"]),
        memory_bytes=moved.memory_bytes,
        link_bytes=moved.link_bytes,
        arguments=memory.argument_size_in_bytes,
        temporary=memory.temp_size_in_bytes,
        peak=held + memory.generated_code_size_in_bytes,
        refusal=None,
        seconds=time.perf_counter() - started,
    )


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
