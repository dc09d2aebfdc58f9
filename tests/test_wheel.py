"""What a wheel gives where there is no clone: the verbs, the experiments, the demo."""

import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import jax
import pytest

from tests.commands import run_all

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
    """A folder with a new environment, `venv`, that has the wheel in it, and `elsewhere`, away from
    the clone. The packages that it needs are those of this environment."""
    folder = tmp_path_factory.mktemp("installed")
    # This environment's pip installs into it: one of its own takes seconds to unpack.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    pip = [sys.executable, "-m", "pip", "--python", folder / "venv"]
    install = [*pip, "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True)
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (packages / "locked.pth").write_text(f"{pathlib.Path(jax.__file__).parents[1]}\n")
    (folder / "elsewhere").mkdir()
    return folder


SMALL = ["--gin_file=ut_at_demo.gin", "--gin.MODEL_DIR='runs/demo'"]
SMALL += ["--gin.NUM_ENCODER_LAYERS=1", "--gin.NUM_DECODER_LAYERS=1"]
SHORT = ["--gin.TRAIN_STEPS=2", "--gin.BATCH_SIZE=2", "--gin.EVAL_PERIOD=0"]
COMMANDS = {
    "search_paths": ["experiments", "--search_paths"],
    "prepare": ["prepare", "demo", "--item_tokens", "--seed", "3"],
    "show": ["show", "retrieval_demo", "--gin_file=ut_at_demo.gin", "--n", "1"],
    "train": ["train", *SMALL, *SHORT, "--gin.TEST_SPLIT=None"],
}


@pytest.fixture(scope="module")
def said(installed, quick_compilation):
    """What each command wrote to standard output."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    python = installed / "venv" / "bin" / "python"
    outcomes = run_all(list(COMMANDS.values()), installed / "elsewhere", python, environment)
    for name, outcome in zip(COMMANDS, outcomes, strict=True):
        assert outcome.returncode == 0, f"{name}: {outcome.stderr[-2000:]}"
    return {name: it.stdout for name, it in zip(COMMANDS, outcomes, strict=True)}


def test_a_wheel_holds_every_experiment_and_no_package_named_gin(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    files = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("gin/**/*.gin")}
    assert len(files) > 50
    assert {f"recalign/{file}" for file in files} <= names
    assert not any(name.startswith("gin/") for name in names)
    assert {"recalign/report/page.html", "recalign/baselines/environments/recbole.txt"} <= names


def test_the_verbs_and_the_experiments_by_bare_name(installed, said):
    listed = subprocess.run(
        [installed / "venv" / "bin" / "recalign", "experiments"],
        cwd=installed / "elsewhere",
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert any(line.startswith("reat_toys.gin") for line in listed)
    paths = said["search_paths"].strip().split(",")
    assert all(os.path.isdir(path) and str(ROOT) not in path for path in paths)
    # What T5X does with --gin_search_paths, by gin itself.
    parse = (
        "import importlib.util, sys\n"
        "sys.modules['tensorflow'] = None\n"  # gin looks for files by it too, and takes seconds
        "import gin\n"
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


def test_the_demos_first_steps(installed, said):
    assert "What would the user buy next?" in " ".join(said["show"].split())
    assert (installed / "elsewhere" / "runs" / "demo" / "checkpoints" / "2").is_dir()


@pytest.mark.slow
@pytest.mark.usefixtures("quick_compilation")
def test_the_demo_from_its_corpus_to_its_report(installed):
    outcome = subprocess.run(
        [installed / "venv" / "bin" / "recalign", "demo", "--quick"],
        cwd=installed / "elsewhere",
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, f"{outcome.stdout}{outcome.stderr[-3000:]}"
    titles = [line for line in outcome.stdout.splitlines() if line.startswith("== ")]
    assert [title[:9] for title in titles] == ["== 1 of 3", "== 2 of 3", "== 3 of 3"]
    run = installed / "elsewhere" / "runs" / "demo-quick"
    assert (run / "checkpoints" / "20").is_dir()
    assert "retrieval_demo" in (run / "results.json").read_text()
    page = (run / "report.html").read_text()
    assert "Popularity" in page and str(ROOT) not in page
