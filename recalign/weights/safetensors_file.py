"""The safetensors file format: a JSON table of contents, then the raw arrays.

https://github.com/huggingface/safetensors#format. Read and written here, because the package of
that name writes only what fits in memory, and has no NumPy type for bfloat16.
"""

import json
import math
import pathlib
import struct
from collections.abc import Mapping

import ml_dtypes
import numpy as np

from recalign.errors import UserError, shown
from recalign.weights.tensors import Index, Tensor

_DTYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16,
    "I64": np.int64, "I32": np.int32, "U8": np.uint8, "I8": np.int8, "BOOL": np.bool_,
}  # fmt: skip
# The format's own limit.
_LARGEST_HEADER = 100_000_000
_ALIGNMENT = 8


def open_file(path: pathlib.Path) -> dict[str, Tensor]:
    """The tensors of a file by name; their parts are read when they are asked for."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else _LARGEST_HEADER
        if length >= _LARGEST_HEADER or 8 + length > size:
            raise UserError(f"{path}: not a safetensors file, or cut short")
        header = file.read(length)
    try:
        table = json.loads(header)
        table.pop("__metadata__", None)
        return {
            name: _tensor(path, name, entry, first_byte=8 + length, size=size)
            for name, entry in table.items()
        }
    except (
        ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError,
    ) as error:  # fmt: skip
        raise UserError(f"{path}: its table of contents cannot be read: {shown(error)}") from error


def _tensor(path: pathlib.Path, name: str, entry: Mapping, first_byte: int, size: int) -> Tensor:
    if entry["dtype"] not in _DTYPES:
        raise UserError(f"{path}: {name} is of type {entry['dtype']}, which is not supported")
    dtype, shape = np.dtype(_DTYPES[entry["dtype"]]), tuple(int(n) for n in entry["shape"])
    begin, end = entry["data_offsets"]
    if not all(type(n) is int and n >= 0 for n in (*entry["shape"], begin, end)):
        raise ValueError(f"{name} is at bytes {begin!r} to {end!r}, of shape {entry['shape']!r}")
    if end - begin != math.prod(shape) * dtype.itemsize or first_byte + end > size:
        raise UserError(f"{path}: {name} is cut short: download or convert it again")

    def read(index: Index) -> np.ndarray:
        mapped = np.memmap(path, dtype, "r", offset=first_byte + begin, shape=shape)
        return np.array(mapped[index])

    return Tensor(shape, dtype, read)


class Writer:
    """Writes a file of float32 tensors one by one, in any order."""

    def __init__(self, path: pathlib.Path, shapes: Mapping[str, tuple[int, ...]]):
        table: dict[str, dict] = {"__metadata__": {"format": "pt"}}
        self._offsets: dict[str, int] = {}
        end = 0
        for name, shape in shapes.items():
            begin, end = end, end + 4 * math.prod(shape)
            table[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}
            self._offsets[name] = begin
        header = json.dumps(table, separators=(",", ":")).encode()
        header += b" " * (-len(header) % _ALIGNMENT)
        self._first_byte = 8 + len(header)
        self._file = path.open("wb")
        self._file.write(struct.pack("<Q", len(header)) + header)
        self._file.truncate(self._first_byte + end)

    def write(self, name: str, array: np.ndarray) -> None:
        self._file.seek(self._first_byte + self._offsets[name])
        self._file.write(np.ascontiguousarray(array, np.dtype("<f4")).data)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *raised: object) -> None:
        self._file.close()
