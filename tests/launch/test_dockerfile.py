"""The image for users, as far as it can be tried without Docker: what it copies is there, and its
last command gives a `recalign` that works."""

import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """(instruction, its text) in order."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(" ", 1)) for line in text.splitlines() if line.strip()]


def test_python_is_one_that_the_lock_is_for():
    (image,) = [text for name, text in instructions() if name == "FROM"]
    version = re.fullmatch(r"python:3\.(\d+)-slim", image)[1]
    allowed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert allowed == ">=3.11,<3.14" and 11 <= int(version) <= 13


def test_what_is_copied_is_there_and_is_all_that_the_wheel_needs(tmp_path):
    for name, text in instructions():
        if name == "COPY":
            *sources, target = text.split()
            for source in sources:
                place = tmp_path / target / (source if target == "./" else "")
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__py*"))
                else:
                    shutil.copy(ROOT / source, place)
    # `pip install --no-deps --no-build-isolation .`, into a folder of its own.
    install = [text for name, text in instructions() if name == "RUN"][-1].split()
    assert install[:2] == ["pip", "install"]
    words = [word for word in install[2:] if word != "--no-cache-dir"]
    outcome = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", *words, "--target", "installed"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stderr
    listed = subprocess.run(
        [sys.executable, "-m", "recalign", "experiments"],
        cwd=tmp_path / "installed",
        capture_output=True,
        text=True,
    )
    assert "reat_toys.gin" in listed.stdout, listed.stderr
    assert not (tmp_path / "installed" / "gin").exists()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("docker") is None, reason="no docker on PATH")
def test_docker_builds_it():
    subprocess.run(["docker", "build", "-t", "recalign-test", str(ROOT)], check=True)
    shown = subprocess.run(
        ["docker", "run", "--rm", "recalign-test", "--version"], capture_output=True, text=True
    )
    assert shown.stdout.startswith("recalign ")
