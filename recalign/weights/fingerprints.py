"""The fingerprint by which an own checkpoint is known to be as it was written.

Of every array two sums, modulo 2^32, of a hash of each number's bits and place: exact for arrays
that are read in parts, on any device and however they are spread. A flipped bit changes a sum for
certain; numbers, rows or layers that changed places, with a chance of 2^-64 to go unseen.
"""

import math
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recalign.errors import UserError

Sums = tuple[int, int]

_VERSION = "2:"
_SALTS = (0x9E3779B9, 0x7F4A7C15)
_MODULUS = 2**32
_AT_ONCE = 2**20  # numbers that are hashed at once in host memory


def sums_of(array: np.ndarray, offset: int = 0) -> Sums:
    """Of an array of 32-bit numbers in host memory: a whole one, or a layer of a stack, whose first
    number has the place `offset` in the flat stack.
    """
    bits = np.ascontiguousarray(array).view(np.uint32).reshape(-1)
    totals = [0, 0]
    for start in range(0, len(bits), _AT_ONCE):
        part = bits[start : start + _AT_ONCE]
        place = np.arange(offset + start, offset + start + len(part), dtype=np.uint64)
        for number, salt in enumerate(_SALTS):
            hashed = _hashed(part, place.astype(np.uint32), np.uint32(salt))
            totals[number] += int(hashed.sum(dtype=np.uint64))
    return totals[0] % _MODULUS, totals[1] % _MODULUS


def added(parts: Iterable[Sums]) -> Sums:
    """Of an array whose parts have these sums."""
    first, second = zip(*parts, strict=True)
    return sum(first) % _MODULUS, sum(second) % _MODULUS


def joined(sums: Iterable[Sums]) -> str:
    """The fingerprint of arrays in the order of the tree."""
    return _VERSION + "".join(f"{one:08x}{two:08x}" for one, two in sums)


def check_version(fingerprint: object, where: str) -> None:
    """UserError where another version of recalign made a fingerprint, so that it says nothing."""
    if isinstance(fingerprint, str) and not fingerprint.startswith(_VERSION):
        raise UserError(
            f"{where}: written by an earlier recalign, whose fingerprint this one cannot check: "
            "train anew, or go on with that version"
        )


def in_tree_order(names: Iterable[str]) -> list[str]:
    """Names joined by `/`, in the order in which JAX lists the leaves of nested mappings."""
    return sorted(names, key=lambda name: name.split("/"))


def of_arrays(tree: Any) -> str:
    """Of a tree of arrays on devices, wherever their parts lie."""
    return joined((int(one), int(two)) for one, two in jax.device_get(_sums(tree)))


@jax.jit
def _sums(tree: Any) -> list[list[jax.Array]]:
    return [[_sum_on_device(leaf, salt) for salt in _SALTS] for leaf in jax.tree.leaves(tree)]


def _sum_on_device(leaf: jax.Array, salt: int) -> jax.Array:
    place = jnp.zeros(leaf.shape, jnp.uint32)
    for axis in range(leaf.ndim):
        stride = math.prod(leaf.shape[axis + 1 :]) % _MODULUS
        place += jax.lax.broadcasted_iota(jnp.uint32, leaf.shape, axis) * jnp.uint32(stride)
    bits = jax.lax.bitcast_convert_type(leaf, jnp.uint32)
    return jnp.sum(_hashed(bits, place, jnp.uint32(salt)))


def _hashed(bits: Any, place: Any, salt: Any) -> Any:
    """A number for bits at a place, which each bit of both changes; of NumPy's and of JAX's."""
    return _mixed(bits ^ _mixed(place ^ salt))


def _mixed(value: Any) -> Any:
    """MurmurHash3's last step: a permutation of the 32-bit numbers (Appleby, 2011)."""
    value = value ^ (value >> np.uint32(16))
    value = value * np.uint32(0x85EBCA6B)
    value = value ^ (value >> np.uint32(13))
    value = value * np.uint32(0xC2B2AE35)
    return value ^ (value >> np.uint32(16))
