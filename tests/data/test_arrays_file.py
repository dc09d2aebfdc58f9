"""An .npz file that somebody made by hand: refused before anything is allocated or unpickled."""

import io
import zipfile

import numpy as np
import pytest

from recalign.data.arrays_file import read_arrays


def npz(header: bytes, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """A file with one array `a`, of any header."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        length = len(header).to_bytes(2 if version == b"\x01\x00" else 4, "little")
        archive.writestr("a.npy", b"\x93NUMPY" + version + length + header + data)
    return buffer.getvalue()


def header(shape: str, dtype: str = "<f8") -> bytes:
    return f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()


def test_what_numpy_wrote_is_read():
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(["x", "yz"]), "c": np.float64(0.5)}
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, **arrays, empty=np.zeros((0, 3)))
        found = read_arrays(buffer.getvalue())
        assert found.keys() == {*arrays, "empty"} and found["empty"].shape == (0, 3)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
    np.testing.assert_array_equal(read_arrays(npz(header("(1,)"), b"\x00" * 8))["a"], [0.0])


@pytest.mark.parametrize(
    "content",
    [
        b"", b"x" * 100, npz(b""), npz(header("(1,)")), npz(header("(1,)"), b"\x00" * 9),
        npz(header(f"({10**15},)")), npz(header("(" + "9" * 24 + ",)")), npz(header("(-1,)")),
        npz(header("(0, -8)")), npz(header("(True,)")), npz(header("7")), npz(header("('x',)")),
        npz(header("[[[[")), npz(b"[" * 400), npz(b"(" * 900), npz(b"-" * 900 + b"1"),
        npz(b"{" * 60_000), npz(header("(1,)", "|O"), b"\x00" * 8), npz(header("(1,)", "nope")),
        npz(header("(1,)", "<U1000000000"), b"\x00" * 8), npz(b"\xff\xfe" * 50),
        npz(header("(1,)"), b"\x00" * 8, version=b"\x07\x00"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_one_line(content):
    with pytest.raises(ValueError) as error:
        found = read_arrays(content)
        assert not found, found  # `(True,)` is a length for NumPy, and the file too short for it
    assert str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 200


def test_a_file_that_would_unpack_to_much_is_refused():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", b"\x93NUMPY")
    content = buffer.getvalue()
    place = content.index(b"PK\x01\x02") + 24  # the unpacked size, in the table of contents
    content = content[:place] + (2**31 - 1).to_bytes(4, "little") + content[place + 4 :]
    with pytest.raises(ValueError, match="its arrays have 2,147,483,647 bytes"):
        read_arrays(content)
