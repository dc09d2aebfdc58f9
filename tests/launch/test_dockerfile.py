"""The image for users, as far as it can be tried without Docker: what it copies is there, its RUN
lines are run by the shell in its order, and its last command gives a `recalign` that works."""

import os
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


def build(folder: pathlib.Path, path: str, **arguments: str) -> None:
    """Does what `docker build --build-arg …` does from ARG to the last RUN, in a folder for the
    image's root and with the programs of a PATH."""
    # pip's settings are the machine's.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment |= {"PATH": path, "IMAGE": str(folder)}
    work = folder
    for name, text in instructions():
        if name == "ARG":
            variable, _, default = text.partition("=")
            environment[variable] = arguments.get(variable, default)
        elif name == "WORKDIR":
            work = folder / text.lstrip("/")
            work.mkdir()
        elif name == "COPY":
            copy_into(work, text)
        elif name == "RUN":
            subprocess.run(["/bin/sh", "-c", text], cwd=work, env=environment, check=True)


def copy_into(work: pathlib.Path, text: str) -> None:
    """COPY: files into a folder, a folder's content into one of its own name."""
    *sources, target = text.split()
    for source in sources:
        if (ROOT / source).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / source, work / target, ignore=ignored)
        else:
            shutil.copy(ROOT / source, work / target)


PIP = """#!/bin/sh
# Notes what it is called with; a file that is named and not there fails the build.
echo "pip $*" >>"$IMAGE/calls"
while [ $# -gt 0 ]; do
  case $1 in -r|-c) [ -s "$2" ] || exit 1; [ "$1" = -r ] || cp "$2" "$IMAGE"; shift ;; esac
  shift
done
"""
LOCKED = "pip install --no-cache-dir --require-hashes -r"
CODE = "pip install --no-cache-dir --no-deps --no-build-isolation ."


@pytest.mark.parametrize(
    ("arguments", "calls"),
    [
        ({}, []),
        ({"ACCELERATOR": "cuda13"}, [f"{LOCKED} launch/locks/cuda13.txt"]),
        ({"EXTRA": "serve"}, [f"{LOCKED} launch/locks/serve.txt"]),
        (
            {"EXTRA": "text"},
            ["pip install --no-cache-dir --no-build-isolation -c constraints.txt .[text]"],
        ),
    ],
)
def test_every_run_line_installs_what_its_arguments_say(arguments, calls, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pip").write_text(PIP)
    (tmp_path / "bin" / "pip").chmod(0o755)
    build(tmp_path, f"{tmp_path}/bin:/usr/bin:/bin", **arguments)
    expected = [f"{LOCKED} requirements.txt", *calls, CODE]
    assert (tmp_path / "calls").read_text().splitlines() == expected
    if "text" in arguments.values():
        # The releases of the lock, line by line.
        locked = re.findall(r"^[a-z]\S*==[^ \\]+", (ROOT / "requirements.txt").read_text(), re.M)
        constraints = (tmp_path / "constraints.txt").read_text().split()
        assert constraints == locked and len(locked) > 50


@pytest.mark.slow
def test_the_run_lines_really_install_into_an_empty_environment(tmp_path):
    """With the image's Python, where it is; pip asks the index."""
    (image,) = [text for name, text in instructions() if name == "FROM"]
    version = re.search(r"3\.\d+", image)[0]
    python = image_python(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    subprocess.run([python, "-m", "venv", tmp_path / "venv"], check=True)
    path = f"{tmp_path}/venv/bin:/usr/bin:/bin"
    root = tmp_path / "root"
    root.mkdir()
    build(root, path)
    environment = {**os.environ, "PATH": path, "JAX_PLATFORMS": "cpu"}
    environment.pop("PYTHONPATH", None)
    for words in (["--help"], ["demo", "--quick"]):  # CMD, and the example at the file's top
        subprocess.run(["recalign", *words], cwd=root / "work", env=environment, check=True)
    assert (root / "work" / "runs" / "demo-quick" / "report.html").is_file()


def image_python(version: str) -> str | None:
    """A Python of that version that starts: pyenv's names on PATH need not."""
    versions = pathlib.Path(
        os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv"), "versions"
    )
    of_pyenv = map(str, sorted(versions.glob(f"{version}.*/bin/python{version}")))
    for python in filter(None, (shutil.which(f"python{version}"), *of_pyenv)):
        if subprocess.run([python, "--version"], capture_output=True).returncode == 0:
            return python
    return None


def test_python_is_one_that_the_lock_is_for():
    (image,) = [text for name, text in instructions() if name == "FROM"]
    version = re.fullmatch(r"python:3\.(\d+)-slim", image)[1]
    allowed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert allowed == ">=3.11,<3.14" and 11 <= int(version) <= 13


def test_what_is_copied_is_there_and_is_all_that_the_wheel_needs(tmp_path):
    for name, text in instructions():
        if name == "COPY":
            copy_into(tmp_path, text)
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
    # Without the seconds that TensorFlow takes to load.
    program = "from recalign import cli, quiet; quiet.load_tensorflow = lambda: None; cli.run()"
    listed = subprocess.run(
        [sys.executable, "-c", program, "experiments"],
        cwd=tmp_path / "installed",
        capture_output=True,
        text=True,
    )
    assert "reat_toys.gin" in listed.stdout, listed.stderr
    assert not (tmp_path / "installed" / "gin").exists()


@pytest.mark.slow
def test_docker_builds_it():
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "info"], capture_output=True).returncode:
        pytest.skip("no docker, or its daemon does not run")
    subprocess.run(["docker", "build", "-t", "recalign-test", str(ROOT)], check=True)
    shown = subprocess.run(
        ["docker", "run", "--rm", "recalign-test", "--version"], capture_output=True, text=True
    )
    assert shown.stdout.startswith("recalign ")
