"""The inverse of `recalign.model.names.from_t5x`."""

from collections.abc import Mapping
from typing import Any

import jax


def to_t5x(params: Mapping[str, Any]) -> dict[str, Any]:
    """Splits stacked layers into T5X's `layers_0`, `layers_1`, …; everything else keeps its name.

    Works on any tree that follows the parameters' (gradients, moments), of JAX or NumPy arrays.
    """
    named: dict[str, Any] = {}
    for name, value in params.items():
        if name == "layers":
            for layer in range(jax.tree.leaves(value)[0].shape[0]):
                named[f"layers_{layer}"] = jax.tree.map(lambda leaf, i=layer: leaf[i], dict(value))
        elif isinstance(value, Mapping):
            named[name] = to_t5x(value)
        else:
            named[name] = value
    return named
