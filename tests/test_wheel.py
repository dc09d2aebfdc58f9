"""What a wheel gives where there is no clone: the verbs, the experiments, the demo."""

import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import jax
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel of this tree, built from a copy of it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    for name in ("recalign", "tasks", "gin"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-c", BUILD, str(folder)], cwd=source, check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def installed(wheel, tmp_path_factory):
    """Runs `recalign` from a new environment with the wheel in it, away from the clone; the
    packages that it needs are those of this environment."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True)
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (packages / "locked.pth").write_text(f"{pathlib.Path(jax.__file__).parents[1]}\n")
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def run(*words: str) -> str:
        outcome = subprocess.run(
            [folder / "venv" / "bin" / "recalign", *words],
            cwd=elsewhere,
            env={**environment, "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
        )
        assert outcome.returncode == 0, outcome.stderr[-2000:]
        return outcome.stdout

    return run


def test_a_wheel_holds_every_experiment_and_no_package_named_gin(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    files = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("gin/**/*.gin")}
    assert len(files) > 50
    assert {f"recalign/{file}" for file in files} <= names
    assert not any(name.startswith("gin/") for name in names)
    assert {"recalign/report/page.html", "recalign/baselines/environments/recbole.txt"} <= names


def test_the_verbs_and_the_experiments_by_bare_name(installed):
    listed = installed("experiments").splitlines()
    assert any(line.startswith("reat_toys.gin") for line in listed)
    paths = installed("experiments", "--search_paths").strip().split(",")
    assert all(os.path.isdir(path) and str(ROOT) not in path for path in paths)
    # What T5X does with --gin_search_paths, by gin itself.
    parse = (
        "import importlib.util, sys, gin\n"
        "for path in sys.argv[1:]: gin.add_config_file_search_path(path)\n"
        "found = gin.parse_config_file('reat_toys.gin', skip_unknown=True)\n"
        "print(*found.includes, found.filename)"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", parse, *paths, paths[0] + "/gin/engine"],
        cwd=paths[0] + "/baselines",
        capture_output=True,
        text=True,
    )
    assert "flan_t5_xl.gin" in outcome.stdout, outcome.stderr[-2000:]


def test_the_demos_first_steps(installed):
    installed("prepare", "demo", "--seed", "3")
    shown = installed("show", "retrieval_demo", "--gin_file=ut_at_demo.gin", "--n", "1")
    assert "What would the user buy next?" in " ".join(shown.split())
    installed(
        "train",
        "--gin_file=ut_at_demo.gin",
        "--gin.MODEL_DIR='runs/demo'",
        "--gin.TRAIN_STEPS=2",
        "--gin.BATCH_SIZE=2",
        "--gin.EVAL_PERIOD=0",
        "--gin.TEST_SPLIT=None",
    )
    # The same again finds its checkpoint.
    assert "hr@5" in installed(
        "eval", "--gin_file=ut_at_demo.gin", "--gin.MODEL_DIR='runs/demo'", "--max_examples", "2"
    )
