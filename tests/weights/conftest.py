"""A tiny run of the own engine, and the archives that other programs made."""

import importlib.util
import pathlib
import shutil
import tarfile
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from recalign.trainer.checkpoints import Checkpoints
from recalign.trainer.partitioning import make_mesh
from recalign.trainer.state import nothing_yet, state_shape
from tests.optimizers import make_optimizer
from tests.weights.comparison import CONFIG, FIRST_STEP, STEP

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"


@pytest.fixture(scope="session")
def mesh():
    return make_mesh(1)


@pytest.fixture(scope="session")
def trained_state(mesh):
    """A train state in which every array has values of its own."""
    rng = np.random.default_rng(0)
    shapes = state_shape(CONFIG, make_optimizer(1e-3, 10, FIRST_STEP), mesh)
    state = jax.tree.map(
        lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape), leaf.dtype), shapes
    )
    moments = state.optimizer._replace(step=jnp.int32(STEP))
    return state._replace(optimizer=moments, window=nothing_yet())


@pytest.fixture(scope="session")
def own_run(tmp_path_factory, trained_state) -> pathlib.Path:
    """A MODEL_DIR that the trainer's own code wrote."""
    model_dir = tmp_path_factory.mktemp("own") / "run"
    checkpoints = Checkpoints(epath.Path(model_dir))
    checkpoints.save(trained_state, FIRST_STEP, metric=0.5)
    checkpoints.wait()
    checkpoints.close()
    return model_dir


@pytest.fixture
def copied_run(own_run, tmp_path) -> pathlib.Path:
    """One that a test may damage."""
    return pathlib.Path(shutil.copytree(own_run, tmp_path / "copied"))


def _unpacked(name: str, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("golden")
    with tarfile.open(GOLDEN / f"{name}.tar.xz") as archive:
        archive.extractall(folder)  # our own file; Python 3.11.2 knows no filter
    return folder


@pytest.fixture(scope="session")
def t5x_golden(tmp_path_factory) -> pathlib.Path:
    return _unpacked("t5x_checkpoints", tmp_path_factory)


@pytest.fixture(scope="session")
def hugging_face_golden(tmp_path_factory) -> pathlib.Path:
    return _unpacked("hugging_face_t5", tmp_path_factory)


@pytest.fixture(scope="session")
def t5x_maker() -> ModuleType:
    """The script that made T5X's archive: what it put in."""
    spec = importlib.util.spec_from_file_location("maker", GOLDEN / "make_t5x_checkpoints.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    return maker
