"""Environments of the libraries: each has packages of its own, which would not go with ours.

`recbole.txt` and `cornac.txt` beside the drivers' folder are the locks. An environment is made on
first use and made anew when its lock has changed or an earlier attempt did not finish.
"""

import fcntl
import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable

from recalign.errors import UserError

_LOCKS = pathlib.Path(__file__).parent / "environments"
_STAMP = ".recalign-complete"


def default_directory() -> pathlib.Path:
    """Where environments lie: the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return pathlib.Path(cache).expanduser() / "recalign" / "environments"


def python_of(
    library: str,
    directory: pathlib.Path,
    say: Callable[[str], None],
    lock: pathlib.Path | None = None,
) -> pathlib.Path:
    """The Python of a library's environment, which is made first where it is not there or broken.

    `library` is "RecBole" or "Cornac"; each has a folder in `directory`. `lock` has the pinned
    packages, None for the library's own.
    """
    lock = lock or _LOCKS / f"{library.lower()}.txt"
    home = directory.absolute() / library.lower()
    stamp, python = home / _STAMP, home / "bin" / "python"
    wanted = f"{sys.version}\n{lock.read_text()}"
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        # Two commands at once would write into each other's files; the second waits.
        with (home.parent / f".{home.name}.lock").open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            if stamp.exists() and stamp.read_text() == wanted and python.exists():
                return python
            say(f"making {library}'s environment in {home} (some minutes, once)")
            started = time.monotonic()
            shutil.rmtree(home, ignore_errors=True)
            _run([sys.executable, "-m", "venv", str(home)], library)
            _run([str(python), "-m", "pip", "install", "--quiet", "-r", str(lock)], library)
            stamp.write_text(wanted)
            say(f"{library}'s environment is ready after {time.monotonic() - started:.0f} s")
            return python
    except OSError as error:
        raise UserError(f"cannot make {library}'s environment in {home}: {error}") from error


def _run(command: list[str], library: str) -> None:
    """Its standard output is no result of ours: it goes where messages go."""
    outcome = subprocess.run(command, stdout=sys.stderr.fileno(), check=False)
    if outcome.returncode:
        raise UserError(
            f"{library}'s environment could not be made: `{' '.join(command)}` ended with"
            f" {outcome.returncode} (its message is above)"
        )
