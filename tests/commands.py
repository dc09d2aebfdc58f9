"""Commands in a test's own process, which takes no second to start; and several, each in a process
of its own, with TensorFlow and JAX loaded once for all."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence

import pytest

NOWHERE = "http://127.0.0.1:9"


@contextlib.contextmanager
def away_from_any_network(folder: pathlib.Path) -> Iterator[None]:
    """In a folder, and behind a proxy that is not there: T5's vocabulary cannot be read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("https_proxy", "HTTPS_PROXY"):
            patch.setenv(name, NOWHERE)
        # Which proxies there are is asked once a process.
        patch.setattr(urllib.request, "_opener", None)
        yield


# Each command is a fork of a process that has loaded the libraries and done nothing with them, so
# that it starts as a new process would, without the seconds that loading takes.
_LOADING_ONCE = """
import json, os, sys
from recalign import cli, quiet
quiet.load_tensorflow()
import recalign.trainer.loop, recalign.trainer.recommend
assert not {"keras", "matplotlib", "sklearn"} & set(sys.modules), "they take seconds to load"
folder, commands = sys.argv[1], json.loads(sys.argv[2])
for number, words in enumerate(commands):
    if child := os.fork():
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    else:
        for stream, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{folder}/{number}.{name}", os.O_WRONLY | os.O_CREAT), stream)
        if isinstance(words, list):
            sys.exit(cli.main(words))
        exec(words, {"__name__": "__main__"})
        sys.exit()
"""


def run_all(
    commands: Sequence[Sequence[str] | str],
    cwd: pathlib.Path,
    python: str | pathlib.Path = sys.executable,
    environment: dict[str, str] | None = None,
) -> list[subprocess.CompletedProcess[str]]:
    """What becomes of each command, one after the other, whether or not one of them fails.

    Args:
      commands: words after `recalign`, or a program in Python.
      cwd: where they run.
      python: whose `recalign` runs.
      environment: else this process's.
    """
    env = {**(os.environ if environment is None else environment), "JAX_PLATFORMS": "cpu"}
    with tempfile.TemporaryDirectory() as folder:
        loading = subprocess.run(
            [python, "-c", _LOADING_ONCE, folder, json.dumps(list(commands), default=list)],
            cwd=cwd,
            env=env,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert loading.returncode == 0, loading.stderr[-3000:]
        statuses = map(int, loading.stdout.split())
        return [
            subprocess.CompletedProcess(
                words,
                status,
                *(pathlib.Path(folder, f"{number}.{name}").read_text() for name in ("out", "err")),
            )
            for number, (words, status) in enumerate(zip(commands, statuses, strict=True))
        ]
