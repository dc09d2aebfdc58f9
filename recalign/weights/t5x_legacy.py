"""T5X's own layout: a msgpack file beside a zarr array for each large parameter.

    checkpoint_1138000/checkpoint                           msgpack: {"version": 3, "optimizer": …}
    checkpoint_1138000/target.encoder.layers_0.mlp.wo.kernel/   zarr

In the msgpack file a small array lies as it is, a large one as TensorStore's description of its
zarr array, whose path is relative to the checkpoint and whose store ("gfile", "gcs" with a made-up
bucket) tells where it was written, not where it lies now.
"""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from etils import epath
from flax import serialization

from recalign.data.field_checks import whole
from recalign.errors import UserError, shown
from recalign.model.t5.config import T5Config
from recalign.weights import orbax_tree, stores, t5x_state
from recalign.weights.tensors import Tensor, Weights, flatten, unflatten

FILE = "checkpoint"
_VERSION = 3
_OLDEST_VERSION = 2
_LENGTH = whole(0, 2**40)
_TYPES: Mapping[str, Any] = {
    "bfloat16": jax.numpy.bfloat16,
    **{name: name for name in ("float16", "float32", "float64", "int32", "int64")},
    **{name: name for name in ("<f2", "<f4", "<f8", "<i4", "<i8")},
}
"""By what TensorStore and zarr call them."""


def detect(folder: epath.Path) -> bool:
    """Whether this is such a checkpoint; an Orbax one may hold a msgpack file too."""
    return (folder / FILE).is_file() and not orbax_tree.detect(folder)


def open_weights(folder: epath.Path) -> Weights:
    """The weights, and the optimizer's state where there is one."""
    path = folder / FILE
    contents = t5x_state.read_msgpack(path)
    if not {"version", "optimizer"} <= contents.keys():
        raise UserError(f"{path}: not a checkpoint of T5X: it has no 'version' and 'optimizer'")
    version, optimizer = contents["version"], contents["optimizer"]
    if type(version) is not int or not isinstance(optimizer, Mapping):
        raise UserError(
            f"{path}: not a checkpoint of T5X: version {shown(version)}, optimizer"
            f" {shown(optimizer, most=20)}"
        )
    if version < _OLDEST_VERSION:
        raise UserError(f"{path}: T5X's checkpoints of version {version} are too old")
    tensors = {
        name: _tensor(folder, name, leaf) for name, leaf in flatten(optimizer, _is_spec).items()
    }
    return t5x_state.split(str(folder), tensors)


def write(weights: Weights, config: T5Config, folder: pathlib.Path, done: Callable) -> None:
    """A checkpoint as T5X's `Checkpointer` writes it; without moments, with those of a new run."""
    target = epath.Path(folder)
    written: dict[str, Any] = {}
    for name, tensor in t5x_state.tensors(weights, config).items():
        if _is_inline(name, tensor):
            written[name] = tensor.whole()
            continue
        array_name = name.replace("/", ".")
        store = stores.create(stores.zarr_in(target, array_name), tensor.shape, stacked=False)
        array = tensor.whole()
        for part in stores.parts(array.shape):
            stores.write(store, array, part)
        done(array.nbytes)
        written[name] = {
            "driver": "zarr",
            "dtype": "float32",
            "kvstore": {"driver": "file", "path": f"{array_name}/"},
            "metadata": {
                "shape": list(tensor.shape),
                "chunks": list(stores.chunk_shape(tensor.shape)),
                "compressor": stores.COMPRESSOR,
            },
        }
    state = {"version": _VERSION, "optimizer": unflatten(written)}
    (folder / FILE).write_bytes(serialization.msgpack_serialize(state))


def _is_inline(name: str, tensor: Tensor) -> bool:
    """What T5X does not partition is in its msgpack file, and T5X reads it from there alone."""
    return tensor.shape in ((), (1,)) or name.endswith(("/v_row", "/v_col"))


def _is_spec(node: Any) -> bool:
    return isinstance(node, Mapping) and {"driver", "kvstore", "metadata"} <= node.keys()


def _tensor(folder: epath.Path, name: str, leaf: Any) -> Tensor:
    if not _is_spec(leaf):
        return t5x_state.inline(str(folder), name, leaf)
    path, dtype, shape = _described(folder, name, leaf)
    where = f"{folder / path}"

    def read(index: tuple[slice, ...]) -> np.ndarray:
        stored = stores.open_tensor(stores.zarr_in(folder, path), where)
        if stored.shape != shape:
            raise UserError(f"{where}: shape {stored.shape}, but {FILE} says {shape}")
        return stored.read(index)

    return Tensor(shape, dtype, read)


def _described(
    folder: epath.Path, name: str, leaf: Mapping[str, Any]
) -> tuple[str, np.dtype, tuple[int, ...]]:
    """Path, within the folder, type and shape of the zarr array that the msgpack file describes."""

    def wrong(what: str, value: Any) -> UserError:
        return UserError(
            f"{folder}: {shown(name)}: its zarr array is not described: {what} {shown(value)}"
        )

    kvstore, metadata = leaf["kvstore"], leaf["metadata"]
    for what, value in (("kvstore", kvstore), ("metadata", metadata)):
        if not isinstance(value, Mapping):
            raise wrong(what, value)
    # Before TensorStore 0.1.14 the path stood outside.
    path = kvstore.get("path") or leaf.get("path")
    if not isinstance(path, str):
        raise wrong("path", path)
    stores.check_within(folder, path)
    dtype = leaf.get("dtype", metadata.get("dtype"))
    if dtype in ("uint16", "<u2"):
        raise UserError(f"{folder}: {name}: bfloat16 kept as uint16, which T5X gave up in 2021")
    if not isinstance(dtype, str) or dtype not in _TYPES:
        raise wrong("dtype", dtype)
    shape = metadata.get("shape")
    if not isinstance(shape, list) or not all(map(_LENGTH, shape)):
        raise wrong("shape", shape)
    return path.rstrip("/"), np.dtype(_TYPES[dtype]), tuple(shape)
