"""Start weights of any format, each part read where it is needed."""

from typing import Any

import jax
import numpy as np

from recalign.model.config import T5Config
from recalign.weights import fingerprints, formats, inspection, own
from recalign.weights.tensors import Index, Tensor, Weights, as_float32, place, stacks, unflatten


def load_params(
    path: str, config: T5Config, shardings: Any | None = None
) -> tuple[dict[str, Any], int]:
    """(own, stacked parameters in float32, step) of a checkpoint.

    A host reads only the parts that its devices hold, and holds one array of the tree at a time.

    Args:
      path: a T5X checkpoint (`checkpoint_N`, or a MODEL_DIR: its newest), a Hugging Face folder or
        hub name, a run of the own engine (its best checkpoint) or its `checkpoints/STEP`.
      config: the model; the checkpoint must be of its sizes.
      shardings: a tree like the parameters with a `jax.sharding.Sharding` a leaf; None puts them
        on the first device.

    Raises:
      UserError: no such checkpoint, another model, or a damaged one.
    """
    name, folder = formats.resolve(path)
    weights = formats.open_weights(name, folder)
    inspection.check_params(weights.where, weights.params, config)
    params = {
        stack: _array(weights, names, _sharding(shardings, stack))
        for stack, names in stacks(weights.params).items()
    }
    tree = unflatten(params)
    if name == formats.OWN and own.expected_fingerprint(folder) is not None:
        own.check_fingerprint(folder, fingerprints.of_arrays(tree))
    return tree, weights.step or 0


def _array(weights: Weights, names: list[str], sharding: jax.sharding.Sharding) -> jax.Array:
    layers = [as_float32(weights.params[name]) for name in names]
    stacked = place(names[0]).layer is not None
    shape = (len(layers), *layers[0].shape) if stacked else layers[0].shape
    # Devices that hold the same part share one reading of it.
    read: dict[tuple, np.ndarray] = {}

    def part(index: Index | None) -> np.ndarray:
        index = index or ()
        bounds = tuple(slice(*axis.indices(size)) for axis, size in zip(index, shape, strict=True))
        key = tuple((axis.start, axis.stop) for axis in bounds)
        if key not in read:
            read[key] = _read_layers(layers, bounds) if stacked else layers[0].read(bounds)
        return read[key]

    return jax.make_array_from_callback(shape, sharding, part)


def _read_layers(layers: list[Tensor], bounds: Index) -> np.ndarray:
    chosen = layers[bounds[0]]
    part = np.empty([len(chosen), *(axis.stop - axis.start for axis in bounds[1:])], np.float32)
    for number, layer in enumerate(chosen):
        part[number] = layer.read(bounds[1:])
    return part


def _sharding(shardings: Any | None, stack: str) -> jax.sharding.Sharding:
    if shardings is None:
        return jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    node = shardings
    for key in stack.split("/"):
        node = node[key]
    return node
