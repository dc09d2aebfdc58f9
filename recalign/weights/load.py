"""Start weights of any format, each part read where it is needed."""

import concurrent.futures
from typing import Any

import jax
import numpy as np

from recalign.model.network import Network
from recalign.weights import fingerprints, formats, inspection, own
from recalign.weights.tensors import (
    Index,
    Tensor,
    Weights,
    as_float32,
    flatten,
    place,
    stacks,
    unflatten,
)

# Layers read at once: a bucket answers each slowly, and each is held until it is in its stack.
_READERS = 8


def load_params(
    path: str, network: Network, shardings: Any | None = None
) -> tuple[dict[str, Any], int]:
    """(own, stacked parameters in float32, step) of a checkpoint of the network's sizes.

    A host reads only the parts that its devices hold, and holds one array of the tree at a time.
    `path`: a source as `convert` takes it. `shardings`: a tree like the parameters with a
    `jax.sharding.Sharding` a leaf; None puts them on the first device.
    """
    name, folder = formats.resolve(path)
    weights = formats.open_weights(name, folder)
    inspection.check_params(weights.where, weights.params, network)
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    of_stack = flatten(shardings or {}, lambda node: False)
    params = {
        stack: _array(weights, names, of_stack.get(stack, here))
        for stack, names in stacks(weights.params).items()
    }
    tree = unflatten(params)
    if name == formats.OWN:
        own.check_fingerprint(folder, lambda: fingerprints.of_arrays(tree))
    return tree, weights.step or 0


def _array(weights: Weights, names: list[str], sharding: jax.sharding.Sharding) -> jax.Array:
    layers = [as_float32(weights.params[name]) for name in names]
    stacked = place(names[0]).layer is not None
    shape = (len(layers), *layers[0].shape) if stacked else layers[0].shape
    held = _held_by_this_process(sharding, shape)
    read = _read_layers(layers, held) if stacked else layers[0].read(held)

    def part(index: Index | None) -> np.ndarray:
        pairs = zip(_bounded(index, shape), held, strict=True)
        return read[tuple(slice(it.start - at.start, it.stop - at.start) for it, at in pairs)]

    return jax.make_array_from_callback(shape, sharding, part)


def _held_by_this_process(sharding: jax.sharding.Sharding, shape: tuple[int, ...]) -> Index:
    """The box around what its devices hold: read at once, since their parts may share a chunk."""
    indices = sharding.addressable_devices_indices_map(shape).values()
    parts = [_bounded(index, shape) for index in indices]
    return tuple(
        slice(min(part.start for part in axis), max(part.stop for part in axis))
        for axis in zip(*parts, strict=True)
    )


def _bounded(index: Index | None, shape: tuple[int, ...]) -> Index:
    """slice(None) -> slice(0, size)."""
    axes = zip(index or (), shape, strict=True)
    return tuple(slice(*axis.indices(size)[:2]) for axis, size in axes)


def _read_layers(layers: list[Tensor], bounds: Index) -> np.ndarray:
    """The layers of a stack, several at a time: each is a file or an object of its own."""
    chosen = layers[bounds[0]]
    stack = np.empty([len(chosen), *(axis.stop - axis.start for axis in bounds[1:])], np.float32)

    def read(number: int) -> None:
        stack[number] = chosen[number].read(bounds[1:])

    with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
        list(pool.map(read, range(len(chosen))))
    return stack
