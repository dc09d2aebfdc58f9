"""The fingerprint by which an own checkpoint is known to be as it was written.

Eight hexadecimal digits an array of 32-bit numbers: the sum of its bit patterns, modulo 2^32. Exact
for arrays that are read in parts, on any device and however they are spread; a flipped bit changes
it for certain.
"""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_MODULUS = 2**32


def bit_sum(array: np.ndarray) -> int:
    """Of an array of 32-bit numbers in host memory."""
    bits = np.ascontiguousarray(array).view(np.uint32)
    return int(bits.sum(dtype=np.uint64)) % _MODULUS


def joined(sums: Iterable[int]) -> str:
    return "".join(f"{value % _MODULUS:08x}" for value in sums)


def in_tree_order(names: Iterable[str]) -> list[str]:
    """Names joined by `/`, in the order in which JAX lists the leaves of nested mappings."""
    return sorted(names, key=lambda name: name.split("/"))


def of_arrays(tree: Any) -> str:
    """Of a tree of arrays on devices, wherever their parts lie."""
    return joined(int(value) for value in jax.device_get(_bit_sums(tree)))


@jax.jit
def _bit_sums(tree: Any) -> list[jax.Array]:
    return [
        jnp.sum(jax.lax.bitcast_convert_type(leaf, jnp.uint32)) for leaf in jax.tree.leaves(tree)
    ]
