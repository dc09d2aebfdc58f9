"""TensorStore: where an array lies, and reading and writing parts of it."""

import math
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorstore as ts
from etils import epath

from recalign.errors import UserError, shown
from recalign.weights.tensors import Index, Tensor

# A reader that wants a part of an array reads whole chunks: small enough for that, large enough
# for a bucket.
_CHUNK_BYTES = 64 * 2**20
_DRIVERS = {2: "zarr", 3: "zarr3"}
# What is written gets its name when it is complete and on disk: syncing each array only takes time.
_CONTEXT = ts.Context({"file_io_sync": False})
COMPRESSOR = {"id": "zstd", "level": 1}


def key_value_store(folder: epath.Path) -> dict[str, Any]:
    """The folder as TensorStore's key-value store: a bucket for gs://, else files."""
    path = folder.as_posix()
    if path.startswith("gs://"):
        bucket, _, prefix = path.removeprefix("gs://").partition("/")
        return {"driver": "gcs", "bucket": bucket, "path": f"{prefix}/"}
    return {"driver": "file", "path": f"{folder.absolute().as_posix()}/"}


def zarr_in(
    folder: epath.Path, name: str, version: int = 2, in_database: bool = False
) -> dict[str, Any]:
    """A zarr array in a folder of its own, or as Orbax's trees have it in the OCDBT database."""
    if in_database:
        kvstore = {"driver": "ocdbt", "base": key_value_store(folder), "path": f"{name}/"}
    else:
        check_within(folder, name)
        kvstore = key_value_store(folder / name)
    return {"driver": _DRIVERS[version], "kvstore": kvstore}


def check_within(folder: epath.Path, name: str) -> None:
    """Raises a UserError unless a name that a checkpoint gives is one of a place in its folder."""
    path = pathlib.PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or {":", "\0"} & set(name):
        raise UserError(f"{folder}: {shown(name)} is no array in the checkpoint's folder")


def open_tensor(spec: dict[str, Any], where: str, context: ts.Context | None = None) -> Tensor:
    """The array that the spec points to; UserError where it is absent or unreadable."""
    try:
        store = ts.open(spec, open=True, read=True, context=context).result()
    except ValueError as error:
        raise UserError(f"{where}: cannot be opened: {_first_line(error)}") from error

    def read(index: Index) -> np.ndarray:
        try:
            return np.asarray(store[index].read().result())
        except ValueError as error:
            raise UserError(f"{where}: cannot be read: {_first_line(error)}") from error

    return Tensor(tuple(store.shape), store.dtype.numpy_dtype, read)


def create(
    spec: dict[str, Any],
    shape: tuple[int, ...],
    stacked: bool,
    dtype: str = "float32",
    transaction: ts.Transaction | None = None,
) -> ts.TensorStore:
    """A new array; one that is stacked has no chunk with more than one layer in it."""
    own = shape[1:] if stacked else shape
    chunks = [*([1] if stacked else []), *chunk_shape(own)]
    return result(
        ts.open(
            {
                **spec,
                "dtype": dtype,
                "metadata": {"shape": list(shape), "chunks": chunks, "compressor": COMPRESSOR},
                # Orbax takes a chunk that is not there for a damaged one, be it all zeros.
                "store_data_equal_to_fill_value": True,
                "create": True,
                "open": True,
            },
            context=_CONTEXT,
            transaction=transaction,
        )
    )


def write(store: ts.TensorStore, array: np.ndarray, part: Index, layer: int | None = None) -> None:
    """Writes a part of an array, or of one layer of a stack."""
    target = store if layer is None else store[layer]
    result(target[part].write(array[part], can_reference_source_data_indefinitely=True))


def chunk_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The array cut along its first axis into equal chunks of 64 MiB of float32 at most.

    >>> chunk_shape((32128, 2048)), chunk_shape((512,))
    ((8032, 2048), (512,))
    """
    if not shape or math.prod(shape) * 4 <= _CHUNK_BYTES:
        return shape
    row = math.prod(shape[1:]) * 4
    most = max(1, _CHUNK_BYTES // row)
    rows = max(n for n in range(1, min(most, shape[0]) + 1) if shape[0] % n == 0)
    return (rows, *shape[1:])


def parts(shape: tuple[int, ...]) -> Iterator[Index]:
    """The chunks of `chunk_shape` as indices."""
    if not shape:
        yield ()
        return
    rows = chunk_shape(shape)[0]
    rest = tuple(slice(0, size) for size in shape[1:])
    for start in range(0, shape[0], rows):
        yield (slice(start, start + rows), *rest)


def result(future: Any) -> Any:
    """What a writing operation gives; OSError where it failed."""
    try:
        return future.result()
    except ValueError as error:
        # A full disk, a folder that may not be written to.
        raise OSError(_first_line(error)) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200]
