"""A tiny experiment, and a run of it that all tests share."""

import functools
import json
import pathlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from recalign.data import integrity
from recalign.data.prepared import PreparedDataset
from recalign.trainer import optimization, setup
from recalign.trainer.experiment import Experiment, load_experiment
from recalign.trainer.loop import train
from tests.conftest import compiled_quickly, made_once
from tests.corpus import make_corpus
from tests.tracing import Makers, traced_once

TINY = {
    "MIXTURE_OR_TASK_NAME": "ut_at_tiny",
    "TASK_FEATURE_LENGTHS": {"inputs": 96, "targets": 24},
    "VOCAB_SIZE": 640,
    "EMB_DIM": 16,
    "NUM_HEADS": 2,
    "NUM_ENCODER_LAYERS": 1,
    "NUM_DECODER_LAYERS": 1,
    "HEAD_DIM": 8,
    "MLP_DIM": 32,
    "BATCH_SIZE": 8,
    "TRAIN_STEPS": 12,
    "WARMUP_STEPS": 4,
    "HISTORY_LENGTH": 3,
    "CANDIDATE_POOL": 5,
    "BEAM_SIZE": 4,
    "EVAL_PERIOD": 0,
    "EVAL_STEPS": 1,
    "EVALUATOR_NUM_EXAMPLES": 8,
    "CHECKPOINT_PERIOD": 4,
    "LOG_PERIOD": 2,
    "TEST_SPLIT": None,
}
FILES = ["gin/models/tiny.gin", "gin/runs/finetune.gin"]
# Two tasks: all five are trained and evaluated in test_evaluation.py.
TWO_TASKS = {"MIXTURE_OR_TASK_NAME": "retrieval_mlm_tiny"}
_TIMES = ("time", "seconds", "steps_per_second", "tokens_per_second", integrity.DIGEST)


def bindings(**macros: Any) -> list[str]:
    """The tiny experiment's gin bindings with these macros changed."""
    return [f"{name} = {value!r}" for name, value in {**TINY, **macros}.items()]


def without_times(lines: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl as two runs have them in common."""
    return [{k: v for k, v in line.items() if k not in _TIMES} for line in lines]


# Compared with numbers of other programs: as users compile them.
_AS_USERS_COMPILE = {"test_adamw.py", "test_loss.py", "test_optimizer.py"}


@pytest.fixture(scope="module", autouse=True)
def _compilation(request: pytest.FixtureRequest) -> None:
    """Run and rerun are compared bit for bit, so the runs of all files are compiled alike."""
    if request.path.name not in _AS_USERS_COMPILE:
        request.getfixturevalue("quick_compilation")


@pytest.fixture(scope="session")
def _makers() -> Makers:
    return {}


@pytest.fixture(scope="module", autouse=True)
def _traced_once(_makers: Makers) -> Iterator[None]:
    """Runs share what was traced for equal settings, the train step too: it takes seconds a run."""
    with traced_once(_makers), pytest.MonkeyPatch.context() as patch:
        for name in ("make_schedule", "adafactor", "adamw", "make_train_step"):
            patch.setattr(optimization, name, functools.cache(getattr(optimization, name)))
        yield


@pytest.fixture(scope="session")
def _trained_once(
    data_dir: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[str], dict[str, Any]]:
    """The run is trained once, and each worker has a copy that its tests may change."""

    def of(folder: pathlib.Path) -> list[str]:
        return bindings(
            MODEL_DIR=str(folder),
            DATA_DIR=data_dir,
            TRAIN_STEPS=4,
            EVAL_PERIOD=2,
            EVAL_TASKS=("retrieval_tiny",),
            TEST_SPLIT="test",
            CONSTRAINED=True,
            EXACT_SCORES=True,
        )

    def make(folder: pathlib.Path) -> None:
        # Session fixtures come before those of a module.
        with compiled_quickly():
            results = train(load_experiment(FILES, of(folder / "run")))
        assert results is not None
        (folder / "returned.json").write_text(json.dumps(results))

    folder = made_once(tmp_path_factory, "trained", make)
    own = tmp_path_factory.mktemp("trained") / "run"
    shutil.copytree(folder / "run", own)
    return of(own), json.loads((folder / "returned.json").read_text())


@pytest.fixture(scope="module")
def trained(
    _trained_once: tuple[list[str], dict[str, Any]],
) -> Iterator[tuple[Experiment, dict[str, Any]]]:
    """A run with validation and a test at its end, and its results, in the run's surroundings."""
    made, results = _trained_once
    experiment = load_experiment(FILES, made)
    setup.prepare(experiment)
    with experiment.surroundings.entered():
        yield experiment, results


@pytest.fixture(scope="session")
def semantic_run(
    data_dir: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, PreparedDataset]:
    """MODEL_DIR of a run of two steps on semantic IDs, a token a code, and the dataset."""
    dataset = make_corpus("codes", data_dir, item_ids="semantic", item_tokens=True)
    folder = str(tmp_path_factory.mktemp("codes") / "run")
    macros = {"MIXTURE_OR_TASK_NAME": "retrieval_codes", "VOCAB_SIZE": 768, "TRAIN_STEPS": 2}
    made = bindings(**macros, MODEL_DIR=folder, DATA_DIR=data_dir)
    with compiled_quickly():
        train(load_experiment(FILES, made))
    return folder, dataset


@pytest.fixture
def experiment(data_dir: str, tmp_path: pathlib.Path) -> Callable[..., Experiment]:
    """Makes tiny experiments; MODEL_DIR is a folder of the test's own unless it is given."""

    def make(**macros: Any) -> Experiment:
        given = {"MODEL_DIR": str(tmp_path / "run"), "DATA_DIR": data_dir, **macros}
        return load_experiment(FILES, bindings(**given))

    return make


@pytest.fixture(scope="module")
def begun(data_dir, tmp_path_factory):
    """A run of four steps, and gin's bindings for it."""
    directory = tmp_path_factory.mktemp("begun") / "run"
    given = {
        "MODEL_DIR": str(directory), "DATA_DIR": data_dir, "TRAIN_STEPS": 4, "CHECKPOINT_PERIOD": 2,
        **TWO_TASKS,
    }  # fmt: skip
    train(load_experiment(FILES, bindings(**given)))
    return given


@pytest.fixture
def again(begun, tmp_path):
    """Trains in a copy of it, with these macros and bindings; what is there is looked at too."""
    run = tmp_path / "run"
    shutil.copytree(begun["MODEL_DIR"], run)

    def go_on(*more: str, force: bool = False, **macros):
        given = bindings(**{**begun, "MODEL_DIR": str(run), **macros})
        return train(load_experiment(FILES, [*given, *more]), force=force)

    go_on.run = run
    return go_on


def files(run: pathlib.Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()
    }
