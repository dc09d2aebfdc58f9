"""Lines of a text file, plain or gzipped, local or gs://."""

import contextlib
import dataclasses
import gzip
import io
import itertools
import os
import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from typing import IO

import tqdm
from etils import epath

from recalign.data.readers.tally import Tally
from recalign.errors import UserError

MAXIMUM_LINE = 64 * 2**20
"""Bytes. A longer line is no line: JSON in one piece, or a binary file."""

UTF_8 = ("utf-8",)
"""The encodings that are tried on a line unless a reader has others."""

_LINES_THAT_TELL = 1_000
"""Lines with letters beyond ASCII."""

_PROGRESS = 10_000
"""Lines from one sign of progress to the next."""

_ICONV = "(iconv -f utf-16 -t utf-8 makes UTF-8 of it)"
_GZIP = b"\x1f\x8b"
_UNREADABLE = {
    b"PK\x03\x04": "a zip archive",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"PAR1": "a Parquet file (--format parquet)",
    **dict.fromkeys((b"\xff\xfe", b"\xfe\xff"), f"UTF-16 text {_ICONV}"),
}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclasses.dataclass(frozen=True)
class Span:
    """A part of a file that one worker of many reads: the lines of an uncompressed file whose first
    byte is in [start, end); of Parquet, the row groups in [start, end)."""

    start: int
    end: int
    first: int  # the number of the part's first line or row, from 1


@contextlib.contextmanager
def open_file(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """Opens a file to read bytes; a UserError where it cannot, or where the disk fails later."""
    try:
        with epath.Path(path).open("rb") as file:
            yield file
    except OSError as error:
        reason = (error.strerror or str(error)).splitlines()[0]
        raise UserError(f"{os.fspath(path)}: {reason}") from error


def raw_lines(path: str | os.PathLike, span: Span | None = None) -> Iterator[tuple[int, bytes]]:
    """(number from 1, bytes without the line's end) of every line, or of those in a span.

    A UserError for an empty file, a damaged or truncated gzip file, another compression, UTF-16, a
    line beyond `MAXIMUM_LINE`.
    """
    number = span.first - 1 if span else 0
    with open_file(path) as file:
        start = file.read(6)
        file.seek(0)
        if not start:
            raise UserError(f"{os.fspath(path)}: the file is empty")
        for magic, what in _UNREADABLE.items():
            if start.startswith(magic):
                raise UserError(f"{os.fspath(path)}: {what}: plain or gzipped UTF-8 is needed")
        if len(start) == 6 and b"\0\0\0" in (start[::2], start[1::2]):
            raise UserError(
                f"{os.fspath(path)}: UTF-16 text (iconv -f utf-16le -t utf-8, or utf-16be, makes"
                " UTF-8 of it): plain or gzipped UTF-8 is needed"
            )
        stream: IO[bytes] = file
        if span:
            seek_line(file, span.start)
        elif start.startswith(_GZIP):
            stream = io.BufferedReader(gzip.GzipFile(fileobj=file), 2**20)  # type: ignore[type-var]
        progress = tqdm.tqdm(
            desc=os.path.basename(path), unit=" lines", unit_scale=True, delay=2, disable=None
        )
        left = span.end - file.tell() if span else sys.maxsize
        try:
            while left > 0 and (line := stream.readline(MAXIMUM_LINE)):
                number += 1
                left -= len(line)
                if number % _PROGRESS == 0:
                    progress.update(_PROGRESS)
                if len(line) == MAXIMUM_LINE:
                    raise UserError(
                        f"{os.fspath(path)}, line {number}: longer than {MAXIMUM_LINE:,} bytes:"
                        " not a file of lines"
                    )
                if number == 1:
                    line = line.removeprefix(_BYTE_ORDER_MARK)
                yield number, line.rstrip(b"\r\n")
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(
                f"{os.fspath(path)}, line {number + 1}: the gzip file is truncated or damaged"
                f" ({error}): copy or download it again"
            ) from error
        finally:
            progress.close()
    if not number and span is None:
        raise UserError(f"{os.fspath(path)}: the file is empty")


def seek_line(file: IO[bytes], start: int) -> None:
    """Goes to the first line that begins at byte `start` or after it."""
    file.seek(max(0, start - 1))
    if start:
        while (rest := file.readline(MAXIMUM_LINE)) and not rest.endswith(b"\n"):
            pass


def is_gzipped(path: str | os.PathLike) -> bool:
    """Whether the file begins as gzip does, so that only its start can be sought."""
    with open_file(path) as file:
        return file.read(len(_GZIP)) == _GZIP


def text_lines(
    path: str | os.PathLike,
    tally: Tally,
    span: Span | None = None,
    encodings: Sequence[str] = UTF_8,
) -> Iterator[tuple[int, str]]:
    """(number from 1, text without the line's end) of every good line that is not blank.

    A line that is in none of the encodings or holds a NUL byte is a bad line.
    """
    for number, line in raw_lines(path, span):
        if b"\0" in line:
            tally.reject(number, "a NUL byte", line)
            continue
        for encoding in encodings:
            try:
                text = line.decode(encoding)
                break
            except UnicodeDecodeError as error:
                place = error.start
        else:
            tally.reject(number, _undecodable(encodings), line[max(0, place - 20) : place + 20])
            continue
        if text and not text.isspace():
            yield number, text


def _undecodable(encodings: Sequence[str]) -> str:
    """Why a line is no text, and the way on."""
    if tuple(encodings) != UTF_8:
        return f"not {encodings[0]} (--encoding)"
    return "not UTF-8 (say what it is by --encoding latin-1, or convert it by iconv)"


def is_utf_8_after_all(path: str | os.PathLike, encoding: str) -> bool:
    """Whether a file is UTF-8 although another encoding was given, one of a byte a letter.

    In such an encoding any bytes are text, so that "é" of UTF-8 would be read as "Ã©".
    """
    if encoding in UTF_8 or len(bytes(range(128, 256)).decode(encoding, "replace")) != 128:
        return False
    beyond_ascii = (line for _, line in raw_lines(path) if not line.isascii())
    found = False
    for line in itertools.islice(beyond_ascii, _LINES_THAT_TELL):
        try:
            line.decode()
        except UnicodeDecodeError:
            return False
        found = True
    return found


def check_encoding(name: str) -> str:
    """An --encoding that lines can be read in: Python knows it, and a line's end is one byte."""
    try:
        plain = "a\n".encode(name) == b"a\n"
    except (LookupError, UnicodeError):
        raise UserError(f"--encoding {name!r} is none that Python knows") from None
    if not plain:
        raise UserError(
            f"--encoding {name}: its lines do not end in one byte: convert the file first:"
            f" iconv -f {name} -t utf-8 FILE"
        )
    return name


def first_line(
    path: str | os.PathLike,
    encodings: Sequence[str] = UTF_8,
    past: re.Pattern[str] | None = None,
) -> str:
    """The first line that is not blank, nor wholly what is `past`; "" where there is none."""
    tally = Tally(os.fspath(path))
    for _, text in text_lines(path, tally, None, encodings):
        if tally.rejected:
            break
        if "\r" in text:
            raise UserError(
                f"{os.fspath(path)}: lines end in a carriage return alone"
                " (tr '\\r' '\\n' <FILE makes lines of them)"
            )
        if past is None or not past.fullmatch(text):
            return text
    if tally.rejected:
        raise UserError(f"{tally.samples[0]} (in the file's head)")
    return ""
