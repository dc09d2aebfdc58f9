"""Directories and files that exist complete or not at all, after a crash of the machine too."""

import contextlib
import os
import pathlib
import re
import socket
from collections.abc import Iterator
from typing import IO

from etils import epath

from recalign.errors import UserError


@contextlib.contextmanager
def atomic_directory(final: epath.Path) -> Iterator[epath.Path]:
    """Yields a temporary sibling of `final`, which takes its place when the block ends well.

    What was at `final` stays untouched until then and is gone afterwards. An exception or an
    interrupt removes the sibling, and puts back what was moved away for it; a killed process leaves
    them, which the next call on the same host tidies alike. On object stores, where no rename
    exists, the files are copied one by one. A full disk or a read-only directory is a UserError.
    """
    suffix = f"{_host()}-{os.getpid()}"
    temporary = final.parent / f".{final.name}.incomplete-{suffix}"
    replaced = final.parent / f".{final.name}.replaced-{suffix}"
    try:
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(final)
            temporary.mkdir()
            yield temporary
            tree_to_disk(temporary)
            if final.exists():
                final.rename(replaced)
            temporary.rename(final)
            to_disk(final.parent)
        finally:
            if replaced.exists() and not final.exists():
                replaced.rename(final)
            # What was there goes only where the new one has its place: it stays if another
            # interrupt falls here.
            if temporary.exists():
                temporary.rmtree()
            elif replaced.exists():
                replaced.rmtree()
    except OSError as error:
        reason = (error.strerror or str(error)).splitlines()[0]
        left = f"what was there is in {replaced}" if replaced.exists() else "nothing was changed"
        raise UserError(f"cannot write {final}: {reason}; {left}") from error


def write_whole(final: epath.Path, text: str) -> None:
    """Writes a text file beside its place, then moves it there."""
    with whole_file(final) as file:
        file.write(text.encode())


@contextlib.contextmanager
def whole_file(final: epath.Path, writer: str = "") -> Iterator[IO[bytes]]:
    """Yields a file beside `final`, which takes its place when the block ends well, else is gone.

    `writer` tells the files of several processes apart that may write `final` at once.
    """
    part = final.with_name(f"{final.name}{writer}.part")
    try:
        with _new(part) as file:
            yield file
        to_disk(part)
        part.replace(final)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    to_disk(final.parent)


def _new(part: epath.Path) -> IO[bytes]:
    """Opens an empty file that nobody else made: a link in its place would lead elsewhere."""
    if "://" in os.fspath(part):
        return part.open("wb")
    part.unlink(missing_ok=True)
    return pathlib.Path(part).open("xb")


def refuse_link(path: epath.PathLike) -> None:
    """Raises a UserError for a link, before a folder or a file that stays is written to: whoever
    made the link chose what changes."""
    if os.path.islink(path):
        raise UserError(f"{path} is a link, and nothing is written through it: remove it")


def to_disk(path: epath.Path) -> None:
    """Waits until a local file or directory is on disk: a rename must not come before its data."""
    if "://" in os.fspath(path):
        return  # an object in a bucket is there whole once it was written
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def tree_to_disk(directory: epath.Path) -> None:
    """Waits until all that a local directory holds is on disk, and the directory too."""
    if "://" in os.fspath(directory):
        return
    for path in pathlib.Path(directory).rglob("*"):
        to_disk(epath.Path(path))
    to_disk(directory)


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", socket.gethostname())


def _remove_leftovers(final: epath.Path) -> None:
    """Removes what killed processes of this host, and earlier calls of this one, left beside
    `final`, and puts back what they had moved away but not yet replaced."""
    pattern = re.compile(
        rf"\.{re.escape(final.name)}\.(incomplete|replaced)-{re.escape(_host())}-(\d+)"
    )
    for sibling in final.parent.iterdir():
        match = pattern.fullmatch(sibling.name)
        if match and (int(match[2]) == os.getpid() or not _is_running(int(match[2]))):
            if match[1] == "replaced" and not final.exists():
                sibling.rename(final)
            else:
                sibling.rmtree()


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # of another user
    return True
