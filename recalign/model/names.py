"""The parameters' names, and T5X's for them.

Inside, the layers of a stack are one array with a leading layer axis; T5X's minimal example
names them one by one:

    encoder/layers/mlp/wo/kernel [N, F, D]  <-  encoder/layers_0/mlp/wo/kernel [F, D], …
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recalign.errors import UserError

Tree = Mapping[str, Any]
_LAYER = re.compile(r"layers_(\d+)")


def from_t5x(named: Tree) -> dict[str, Any]:
    """Stacks `layers_0`, `layers_1`, … along a leading axis; everything else keeps its name."""
    params: dict[str, Any] = {}
    layers: dict[int, Tree] = {}
    for name, value in named.items():
        if match := _LAYER.fullmatch(name):
            layers[int(match[1])] = value
        elif isinstance(value, Mapping):
            params[name] = from_t5x(value)
        else:
            params[name] = value
    if layers:
        missing = sorted(set(range(max(layers) + 1)) - set(layers))
        if missing:
            raise UserError(f"parameters of layers_{missing[0]} are missing among T5X's names")
        ordered = [dict(layers[layer]) for layer in range(len(layers))]
        for number, layer in enumerate(ordered):
            if str(jax.tree.structure(layer)) != str(jax.tree.structure(ordered[0])):
                raise UserError(f"layers_{number} does not hold the same parameters as layers_0")
        params["layers"] = jax.tree.map(_stack, *ordered)
    return params


def decays(params: Tree) -> Any:
    """For each parameter, in either layout, whether weight decay is for it: not the norms' scales.

    >>> decays({"mlp": {"wo": {"kernel": 1.0}}, "decoder_norm": {"scale": 1.0}})
    {'decoder_norm': {'scale': False}, 'mlp': {'wo': {'kernel': True}}}
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: getattr(path[-1], "key", None) != "scale", params
    )


def _stack(*leaves: Any) -> Any:
    # NumPy arrays stay in host memory: a large checkpoint need not fit the device twice.
    return jnp.stack(leaves) if any(isinstance(x, jax.Array) for x in leaves) else np.stack(leaves)
