"""One process at a time writes into a MODEL_DIR: the system releases the lock of a killed one."""

import contextlib
import fcntl
import os
import pathlib
import socket
from collections.abc import Iterator

import jax
from etils import epath

from recalign.data.atomic import refuse_link
from recalign.errors import UserError

TRAINING = "training.lock"
EVALUATION = "evaluation.lock"


@contextlib.contextmanager
def locked(model_dir: epath.Path, name: str) -> Iterator[None]:
    """Holds MODEL_DIR's lock of this name, or refuses where another process or thread does.

    Leaves no folder behind that it made and nobody used. Buckets have no such locks: what runs
    there is the launcher's to know.
    """
    if "://" in os.fspath(model_dir) or jax.process_index() != 0:  # the first one writes
        yield
        return
    folder = pathlib.Path(model_dir)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _held(folder / name):
            yield
    finally:
        for path in made:
            with contextlib.suppress(OSError):  # it is in use
                path.rmdir()


@contextlib.contextmanager
def _held(path: pathlib.Path) -> Iterator[None]:
    number = _acquired(path)
    try:
        os.truncate(number, 0)
        os.write(number, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(number)


def _acquired(path: pathlib.Path) -> int:
    """The open file. Who held it before may have removed it meanwhile: then another is opened."""
    while True:
        refuse_link(path)
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(number), path.stat()):
                return number
        except BlockingIOError as error:
            holder = os.read(number, 200).decode(errors="replace").strip() or "another process"
            os.close(number)
            raise UserError(
                f"{path.parent}: {holder} holds its {path.name}: wait until that is done, or give "
                "another MODEL_DIR"
            ) from error
        os.close(number)
