"""A tiny experiment that both engines run, and a model that has learnt a little of it.

All tests but those of `test_mixture` run where `import t5x` works (`launch/setup_t5x.sh`), and are
skipped elsewhere.
"""

import pathlib
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import pytest
import seqio


class _WithoutT5X(pytest.Module):
    """A file whose imports would fail."""

    def collect(self) -> Iterator[pytest.Item]:
        reason = f"{self.path.name} needs T5X (bash launch/setup_t5x.sh)"
        pytest.skip(reason, allow_module_level=True)


def pytest_pycollect_makemodule(
    module_path: pathlib.Path, parent: pytest.Collector
) -> pytest.Module | None:
    if find_spec("t5x") is None and module_path.name != "test_mixture.py":
        return _WithoutT5X.from_parent(parent, path=module_path)
    return None


TINY = {
    "MIXTURE_OR_TASK_NAME": "ut_at_tiny",
    "TASK_FEATURE_LENGTHS": {"inputs": 96, "targets": 24},
    "VOCAB_SIZE": 640,
    "EMB_DIM": 32,
    "NUM_HEADS": 2,
    "NUM_ENCODER_LAYERS": 2,
    "NUM_DECODER_LAYERS": 2,
    "HEAD_DIM": 16,
    "MLP_DIM": 64,
    "BATCH_SIZE": 8,
    "TRAIN_STEPS": 20,
    "LEARNING_RATE": 0.02,
    "WARMUP_STEPS": 8,
    "DROPOUT_RATE": 0.0,
    "HISTORY_LENGTH": 3,
    "CANDIDATE_POOL": 5,
    "BEAM_SIZE": 6,
    "EVAL_PERIOD": 0,
    "CHECKPOINT_PERIOD": 0,
    "LOG_PERIOD": 1,
    "TEST_SPLIT": None,
}
FILES = ["gin/models/tiny.gin", "gin/runs/finetune.gin"]


@pytest.fixture(scope="session")
def experiment(
    data_dir: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Any]]:
    """Makes tiny experiments, their tasks registered."""
    from recalign.trainer import setup
    from recalign.trainer.experiment import load_experiment

    def make(files: Sequence[str] = FILES, **macros: Any) -> Any:
        model_dir = str(tmp_path_factory.mktemp("run"))
        given = {**TINY, "MODEL_DIR": model_dir, "DATA_DIR": data_dir, **macros}
        made = load_experiment(files, [f"{name} = {value!r}" for name, value in given.items()])
        setup.prepare(made)
        seqio.set_tfds_data_dir_override(data_dir)  # as T5X's --tfds_data_dir
        return made

    yield make
    seqio.set_tfds_data_dir_override(None)


@pytest.fixture(scope="session")
def _trained_once(experiment: Callable[..., Any]) -> tuple[str, Any]:
    from recalign.trainer.checkpoints import Checkpoints
    from recalign.trainer.loop import train
    from recalign.trainer.partitioning import make_mesh
    from recalign.trainer.state import sharded_params_shape

    made = experiment(TRAIN_STEPS=150)
    train(made)
    checkpoints = Checkpoints(made.directory, read_only=True)
    _, params = checkpoints.restore_params("last", sharded_params_shape(made.network, make_mesh()))
    checkpoints.close()
    return made.model_dir, params


@pytest.fixture(scope="module")
def trained(_trained_once: tuple[str, Any], experiment: Callable[..., Any]) -> tuple[Any, Any]:
    """(experiment, parameters) of 150 steps by the own engine: enough to answer with IDs.

    gin is as in the run.
    """
    model_dir, params = _trained_once
    return experiment(TRAIN_STEPS=150, MODEL_DIR=model_dir), params


@pytest.fixture
def model_dir(tmp_path: pathlib.Path) -> str:
    return str(tmp_path / "t5x")
