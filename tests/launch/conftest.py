"""Checkouts with stand-ins for the installers: they record their calls and fail on demand."""

import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
# What the launchers may use of a machine; neither Python nor uv is among it.
TOOLS = (
    "bash",
    "cat",
    "dirname",
    "mkdir",
    "mv",
    "rm",
    "touch",
    "sed",
    "flock",
    "ln",
    "cp",
    "chmod",
)

# A Python that is 3.11, makes environments, and whose pip records what it is asked for.
PYTHON = """#!/usr/bin/env bash
echo "${0##*/} $*" >>"$CALLS"
case "$*" in
  "-c import sys"*) exit 0 ;;
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && chmod +x "$3/bin/python" ;;
  *" -r "*) [[ ! -e $FAIL ]] ;;
esac
"""
UV = """#!/usr/bin/env bash
echo "uv $*" >>"$CALLS"
case "$*" in
  "venv "*) mkdir -p "${@: -1}/bin" && cp "$PYTHON_STAND_IN" "${@: -1}/bin/python" ;;
  *" -r "*) [[ ! -e $FAIL ]] ;;
esac
"""


class Checkout:
    """A copy of the launchers with a PATH of its own."""

    def __init__(self, directory: pathlib.Path):
        self.root = directory / "checkout"
        self.bin = directory / "bin"
        self.calls_file = directory / "calls"
        self.fail = directory / "fail"
        self.bin.mkdir(parents=True)
        self.root.mkdir()
        shutil.copytree(ROOT / "launch", self.root / "launch")
        for name in ("requirements.txt", "pyproject.toml"):
            shutil.copy(ROOT / name, self.root / name)
        for tool in TOOLS:
            found = shutil.which(tool)
            if found:
                (self.bin / tool).symlink_to(found)
        stand_in = directory / "python-stand-in"
        self._write(stand_in, PYTHON)
        self.environment = {
            "PATH": str(self.bin),
            "CALLS": str(self.calls_file),
            "FAIL": str(self.fail),
            "PYTHON_STAND_IN": str(stand_in),
        }

    def add_command(self, name: str, script: str) -> None:
        self._write(self.bin / name, script)

    def _write(self, path: pathlib.Path, script: str) -> None:
        path.write_text(script)
        path.chmod(0o755)

    def run(self, script: str, *arguments: str, cwd: pathlib.Path | None = None):
        return subprocess.run(
            [str(self.bin / "bash"), str(self.root / "launch" / script), *arguments],
            cwd=cwd or self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def calls(self) -> list[str]:
        """What was called since the last time one asked."""
        calls = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        self.calls_file.unlink(missing_ok=True)
        return calls


@pytest.fixture
def checkout(tmp_path: pathlib.Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.fixture
def with_uv(checkout: Checkout) -> Checkout:
    checkout.add_command("uv", UV)
    return checkout


@pytest.fixture
def with_python(checkout: Checkout) -> Checkout:
    checkout.add_command("python3.11", PYTHON)
    return checkout


@pytest.fixture
def installed(checkout: Checkout) -> Checkout:
    """A checkout whose environment is there: its python records `python ARGUMENTS`."""
    (checkout.root / "launch" / "setup.sh").write_text("exit 0\n")
    (checkout.root / ".venv" / "bin").mkdir(parents=True)
    python = checkout.root / ".venv" / "bin" / "python"
    python.write_text(
        '#!/usr/bin/env bash\necho "python $*" >>"$CALLS"\n'
        '[[ ! -e $FAIL || "$*" != *"$(cat "$FAIL")"* ]]\n'
    )
    python.chmod(0o755)
    assert os.access(python, os.X_OK)
    return checkout
