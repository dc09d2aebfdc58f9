import dataclasses
import json
import pathlib
import resource
import shutil

import jax
import numpy as np
import pytest
import tensorstore as ts
from etils import epath

from recalign.data import integrity
from recalign.errors import UserError
from recalign.model.t5.config import T5Config
from recalign.trainer import partitioning
from recalign.trainer.checkpoints import DAMAGED_FOLDER, FOLDER, Checkpoints
from recalign.trainer.optimizer import adamw
from recalign.trainer.schedule import make_schedule
from recalign.trainer.state import new_state, random_params, state_shape
from recalign.weights import own, stores
from recalign.weights.fingerprints import of_arrays
from tests.optimizers import make_optimizer

CONFIG = T5Config(
    vocab_size=16,
    emb_dim=8,
    num_heads=2,
    num_encoder_layers=2,
    num_decoder_layers=1,
    head_dim=4,
    mlp_dim=8,
)


@pytest.fixture(scope="module")
def mesh():
    return partitioning.make_mesh()


@pytest.fixture(scope="module")
def states(mesh):
    """States of the steps 1, 2, 3 with other parameters each."""
    params, optimizer = random_params(CONFIG, 0, mesh), make_optimizer(0.001, 10, 0)

    def state(step):
        return new_state(jax.tree.map(lambda leaf: leaf * step, params), optimizer, step, mesh)

    return [state(step) for step in (1, 2, 3)]


@pytest.fixture(scope="module")
def shape(mesh):
    return state_shape(CONFIG, make_optimizer(0.001, 10, 0), mesh)


def save(directory, states, metrics=(None, None, None), keep=3):
    checkpoints = Checkpoints(directory, keep=keep)
    for state, metric in zip(states, metrics, strict=True):
        checkpoints.save(state, first_step=0, metric=metric)
        checkpoints.wait()
    return checkpoints


@pytest.fixture(scope="module")
def _saved_once(states, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    save(epath.Path(folder), states).close()
    return folder


@pytest.fixture
def saved(_saved_once, tmp_path):
    """A folder of the test's own with checkpoints of all three."""
    return pathlib.Path(shutil.copytree(_saved_once, tmp_path / "saved"))


def assert_equal(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


def test_a_relative_folder_will_do(tmp_path, states, shape, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(epath.Path("runs/here"), states[:1], metrics=(None,)).close()
    saved = Checkpoints(epath.Path("runs/here"), read_only=True).restore_latest(shape)
    assert_equal(saved.state.params, states[0].params)


def test_newest_comes_back_bit_for_bit(saved, states, shape):
    found = Checkpoints(epath.Path(saved), keep=3).restore_latest(shape)
    assert_equal(found.state, states[2])
    assert found.first_step == 0
    assert found.examples is None


def test_says_how_many_examples_its_rows_held(tmp_path, states, shape):
    checkpoints = Checkpoints(epath.Path(tmp_path))
    checkpoints.save(states[0], 0, examples={"ranking_tiny": 20, "rating_tiny": 3})
    checkpoints.wait()
    assert checkpoints.restore_latest(shape).examples == {"ranking_tiny": 20, "rating_tiny": 3}


def test_nothing_saved(tmp_path, shape):
    assert Checkpoints(epath.Path(tmp_path)).restore_latest(shape) is None


def test_the_best_is_kept_beside_the_newest(tmp_path, states, shape):
    checkpoints = save(epath.Path(tmp_path), states, metrics=(0.5, 0.2, None), keep=1)
    assert checkpoints.steps() == [1, 3]
    assert checkpoints.restore_params("best", shape.params)[0] == 1
    assert checkpoints.restore_params("last", shape.params)[0] == 3
    with pytest.raises(UserError, match="no checkpoint of step 2, but 1, 3"):
        checkpoints.restore_params(2, shape.params)


def test_the_best_is_not_another_for_a_damaged_figure(tmp_path, states, shape, capfd):
    """Orbax's own file of metrics has no digest; what a checkpoint says of itself has one."""
    save(epath.Path(tmp_path), states, metrics=(0.5, 0.2, 0.1)).close()
    damaged = tmp_path / FOLDER / "2" / "metrics" / "metrics"
    damaged.write_text(damaged.read_text().replace("0.2", "0.9"))
    checkpoints = Checkpoints(epath.Path(tmp_path), read_only=True)
    assert checkpoints.restore_params("best", shape.params)[0] == 1
    assert own.locate(epath.Path(tmp_path)).name == "1"
    info = tmp_path / FOLDER / "3" / "info" / "metadata"
    info.write_text(info.read_text().replace("0.1", "0.9"))
    assert checkpoints.restore_params("best", shape.params)[0] == 1
    assert "checkpoint 3 does not say how good it is" in capfd.readouterr().err


def test_a_checkpoint_is_on_disk_before_its_name_and_older_ones_go_after(tmp_path, states, on_disk):
    """After a power cut a whole checkpoint is there: TensorStore waits for arrays by itself."""
    checkpoints = save(epath.Path(tmp_path), states[:1], metrics=(None,), keep=1)
    on_disk.clear()
    checkpoints.save(states[1], first_step=0)
    checkpoints.close()
    folder = tmp_path / FOLDER
    (renamed,) = [n for n, it in enumerate(on_disk) if it[0] == "rename" and it[2] == f"{folder}/2"]
    temporary = on_disk[renamed][1]
    before = {path for kind, path, *_ in on_disk[:renamed] if kind == "fsync"}
    written = {path for path in (folder / "2").rglob("*") if "array_metadatas" not in path.parts}
    of_orbax = {folder / "2" / name for name in ("_CHECKPOINT_METADATA", "commit_success.txt")}
    assert {
        f"{temporary}/{path.relative_to(folder / '2')}" for path in written - of_orbax
    } <= before
    (removed,) = [n for n, it in enumerate(on_disk) if it == ("remove", f"{folder}/1")]
    after = {path for kind, path, *_ in on_disk[renamed:removed] if kind == "fsync"}
    assert {*map(str, of_orbax), str(folder / "2"), str(folder)} <= after
    assert checkpoints.steps() == [2]


def data_files(step: pathlib.Path) -> list[pathlib.Path]:
    return [path for path in (step / "params").rglob("d/*") if path.is_file()]


def flip_a_bit(step: pathlib.Path) -> None:
    for path in data_files(step):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))


def change_what_began(step: pathlib.Path) -> None:
    """Where fine-tuning began: learning rates and batches hang on it."""
    (path,) = (step / "info").rglob("metadata")
    path.write_text(path.read_text().replace('"first_step": 0', '"first_step": 2'))


def change_a_fingerprint(step: pathlib.Path) -> None:
    """As if a bit of the parameters had changed that no checksum of the format covers."""
    (path,) = (step / "info").rglob("metadata")
    info = json.loads(path.read_text())
    print_ = info["fingerprints"]["params"]
    info["fingerprints"]["params"] = print_[:-1] + ("1" if print_[-1] == "0" else "0")
    path.write_text(json.dumps(integrity.sealed(info)))


def truncate(step: pathlib.Path) -> None:
    for path in data_files(step):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(step: pathlib.Path) -> None:
    for path in sorted(step.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


def lose_the_info(step: pathlib.Path) -> None:
    for path in (step / "info").rglob("*"):
        path.write_text("{")


@pytest.mark.parametrize(
    "damage", [flip_a_bit, change_a_fingerprint, change_what_began, truncate, empty, lose_the_info]
)
def test_a_damaged_newest_one_is_told_of_and_passed_over(saved, states, shape, damage, capfd):
    damage(saved / FOLDER / "3")
    checkpoints = Checkpoints(epath.Path(saved), keep=3)
    assert_equal(checkpoints.restore_latest(shape).state, states[1])
    assert "checkpoint 3 is damaged" in capfd.readouterr().err
    assert (saved / DAMAGED_FOLDER / "3").is_dir()
    # The step is free again for the run that trains it anew.
    checkpoints.save(states[2], first_step=0)
    checkpoints.wait()
    assert_equal(checkpoints.restore_latest(shape).state, states[2])


@pytest.mark.parametrize("most_bytes", [2000, 5000])
def test_a_full_disk_is_told_in_one_line_and_whole_ones_stay(tmp_path, states, shape, most_bytes):
    """Orbax raises an OSError of its own files, a ValueError of TensorStore's: the larger ones."""
    save(epath.Path(tmp_path), states[:1], metrics=(None,)).close()
    checkpoints = Checkpoints(epath.Path(tmp_path), keep=3)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        with pytest.raises(UserError) as error:
            checkpoints.save(states[1], first_step=0)
            checkpoints.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(error.value) == (
        f"{tmp_path / FOLDER}: cannot be written: File too large; whole checkpoints are kept, and "
        "the same command goes on from the newest"
    )
    again = Checkpoints(epath.Path(tmp_path), read_only=True)
    assert again.steps() == [1]
    assert_equal(again.restore_latest(shape).state, states[0])


def test_one_that_was_being_written_is_not_taken_for_a_whole_one(saved, states, shape):
    """A killed run leaves a folder of Orbax's own name for it, whose items may be whole."""
    whole = saved / FOLDER / "3"
    whole.rename(whole.with_name("3.orbax-checkpoint-tmp"))
    assert Checkpoints(epath.Path(saved), read_only=True).steps() == [1, 2]
    checkpoints = Checkpoints(epath.Path(saved), keep=3)
    assert_equal(checkpoints.restore_latest(shape).state, states[1])
    checkpoints.save(states[2], first_step=0)
    checkpoints.close()
    assert sorted(path.name for path in (saved / FOLDER).iterdir()) == ["1", "2", "3"]


def test_a_stack_is_stored_layer_by_layer(tmp_path, states):
    """So that a layer of XL is read without the other 23."""
    save(epath.Path(tmp_path), states[:1], metrics=(None,)).close()
    folder = epath.Path(tmp_path) / FOLDER / "1" / "params"
    spec = stores.zarr_in(folder, "encoder.layers.mlp.wi_0.kernel", in_database=True)
    stored = ts.open(spec, open=True).result()
    assert stored.shape == (2, 8, 8)
    assert stored.chunk_layout.read_chunk.shape == (1, 8, 8)


def test_a_damaged_one_is_an_error_where_it_is_asked_for(saved, shape):
    truncate(saved / FOLDER / "2")
    checkpoints = Checkpoints(epath.Path(saved), read_only=True)
    with pytest.raises(UserError, match="2"):
        checkpoints.restore_params(2, shape.params)
    assert checkpoints.restore_params("last", shape.params)[0] == 3


def test_another_models_checkpoint_stays_where_it_is(saved, mesh):
    wider = dataclasses.replace(CONFIG, mlp_dim=16)
    shape = state_shape(wider, make_optimizer(0.001, 10, 0), mesh)
    with pytest.raises(UserError, match=r"is of another model: \S+mlp/\S+ is \(.*8.*\) there"):
        Checkpoints(epath.Path(saved), keep=3).restore_latest(shape)
    assert (saved / FOLDER / "3").is_dir()


def test_another_optimizers_checkpoint_stays_where_it_is(saved, mesh):
    shape = state_shape(CONFIG, adamw(make_schedule(0.001, 10)), mesh)
    with pytest.raises(
        UserError, match=r"is of another optimizer: optimizer/mu/\S+ is absent there"
    ):
        Checkpoints(epath.Path(saved), keep=3).restore_latest(shape)
    assert (saved / FOLDER / "3").is_dir()


def test_adams_moments_come_back_as_they_were(tmp_path, mesh):
    optimizer = adamw(make_schedule(0.01, 0))
    state = new_state(random_params(CONFIG, 1, mesh), optimizer, 0, mesh)
    _, moments = optimizer.update(state.params, state.optimizer, state.params)
    state = state._replace(optimizer=moments)
    save(epath.Path(tmp_path), [state], [None]).close()
    saved = Checkpoints(epath.Path(tmp_path), keep=3).restore_latest(
        state_shape(CONFIG, optimizer, mesh)
    )
    assert_equal(saved.state, state)


def test_no_run_there(tmp_path):
    with pytest.raises(UserError, match="holds no checkpoints"):
        Checkpoints(epath.Path(tmp_path) / "nowhere", read_only=True)


def test_fingerprint_sees_every_bit():
    array = np.array([1.0, -0.0, np.nan, 3.5], np.float32)
    flipped = array.copy()
    flipped.view(np.uint32)[2] ^= 1
    assert of_arrays({"a": array}) == of_arrays({"a": array.copy()})
    assert of_arrays({"a": array}) != of_arrays({"a": flipped})
    assert of_arrays({"a": array}) != of_arrays({"a": np.where(array == 0, 0.0, array)})
