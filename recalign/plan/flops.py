"""Counts the arithmetic of a traced program: its matrix products, every turn of every loop.

XLA's own analysis counts the body of a loop once, however often it runs; a stack of 24 scanned
layers would seem to cost what one costs.
"""

import math
from collections.abc import Iterator
from typing import Any


def matmul_flops(jaxpr: Any, *, while_turns: int = 1, loops_once: bool = False) -> float:
    """Multiplications and additions in the matrix products of a jaxpr, over all devices.

    Args:
      jaxpr: as `jax.jit(f).trace(...).jaxpr`.
      while_turns: how often a loop runs whose end depends on what it computes.
      loops_once: count every loop's body once, as XLA does.
    """
    total = 0.0
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        name, parameters = equation.primitive.name, equation.params
        if name == "dot_general":
            total += _dot_flops(equation)
            continue
        turns = 1
        if name == "scan" and not loops_once:
            turns = parameters["length"]
        elif name == "while" and not loops_once:
            turns = while_turns
        inner = [
            matmul_flops(part, while_turns=while_turns, loops_once=loops_once)
            for part in _inner(parameters)
        ]
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
