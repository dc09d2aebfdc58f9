"""Reading NumPy's .npz from a folder that may be somebody else's."""

import io
import math
import zipfile
from typing import IO

import numpy as np

_MOST_BYTES = 2**30
_LONGEST_HEADER = 1_000
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_arrays(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name: each header is compared with the file before anything is
    allocated, and no pickle is loaded. A ValueError of one line where it is no such file."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            if (size := sum(member.file_size for member in members)) > _MOST_BYTES:
                raise ValueError(f"its arrays have {size:,} bytes")
            for member in members:
                with archive.open(member) as file:
                    _check_header(file, member)
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return dict(arrays)
    except Exception as error:
        # A damaged zip file and a damaged header have many kinds of error of no common kind.
        said = (str(error).splitlines() or [""])[0][:100]
        raise ValueError(said or type(error).__name__) from error


def _check_header(file: IO[bytes], member: zipfile.ZipInfo) -> None:
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"{member.filename}: version {version} of NumPy's format")
    shape, _, dtype = _HEADERS[version](file, max_header_size=_LONGEST_HEADER)
    if dtype.hasobject or min(shape, default=0) < 0:
        raise ValueError(f"{member.filename}: an array of {dtype}, {list(shape)[:4]}")
    if math.prod(shape) * dtype.itemsize != member.file_size - file.tell():
        raise ValueError(
            f"{member.filename}: its header says {list(shape)[:4]}, and it has"
            f" {member.file_size - file.tell():,} bytes"
        )
