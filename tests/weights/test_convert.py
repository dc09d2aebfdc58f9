"""From the own format to every other and back."""

import dataclasses
import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from etils import epath

from recalign.data import integrity
from recalign.errors import UserError
from recalign.trainer.checkpoints import Checkpoints
from recalign.trainer.state import state_shape
from recalign.weights import convert, load_params, own
from tests.optimizers import make_optimizer
from tests.t5x_names import to_t5x
from tests.weights.comparison import CONFIG, FIRST_STEP, STEP, equal

pytestmark = pytest.mark.usefixtures("quick_compilation")

OTHERS = ["t5x", "t5x_orbax", "hugging_face"]


@pytest.fixture(scope="module", params=OTHERS)
def there_and_back(request, own_run, tmp_path_factory):
    """(format, folder in that format, a MODEL_DIR made of it)."""
    folder = tmp_path_factory.mktemp(request.param)
    there = convert(str(own_run), str(folder / "there"), destination_format=request.param)
    convert(str(there.destination), str(folder / "back"), first_step=FIRST_STEP)
    return request.param, there, folder / "back"


def test_parameters_come_back_bit_for_bit(there_and_back, trained_state):
    _, there, back = there_and_back
    for path in (there.destination, back):
        assert equal(load_params(str(path), CONFIG)[0], trained_state.params)


def test_the_step_comes_along(there_and_back):
    name, there, back = there_and_back
    # Hugging Face's format has no place for it.
    expected = 0 if name == "hugging_face" else STEP
    assert load_params(str(there.destination), CONFIG)[1] == expected
    assert load_params(str(back), CONFIG)[1] == expected


def test_the_trainer_goes_on_from_what_comes_back(there_and_back, trained_state, mesh):
    name, there, back = there_and_back
    checkpoints = Checkpoints(epath.Path(back))
    saved = checkpoints.restore_latest(
        state_shape(CONFIG, make_optimizer(1e-3, 10, FIRST_STEP), mesh)
    )
    checkpoints.close()
    assert saved.first_step == FIRST_STEP
    assert equal(saved.state.params, trained_state.params)
    assert there.optimizer == (name != "hugging_face")
    if there.optimizer:
        assert equal(saved.state.optimizer, trained_state.optimizer)
    else:
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(saved.state.optimizer))


def test_the_verb_does_not_wait_for_tensorflow(own_run, tmp_path):
    words = ["convert", str(own_run), str(tmp_path / "there"), "--to", "hugging_face"]
    program = (
        "import sys; sys.modules['tensorflow'] = None\n"  # to import it is an error
        "from recalign import cli; sys.exit(cli.main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "own -> hugging_face" in done.stdout


def test_a_conversion_says_what_it_did(there_and_back, trained_state):
    name, there, _ = there_and_back
    assert (there.source_format, there.destination_format) == ("own", name)
    assert there.parameters == sum(leaf.size for leaf in jax.tree.leaves(trained_state.params))


def test_weights_only_begins_a_new_optimizer(own_run, tmp_path, mesh):
    there = convert(
        str(own_run), str(tmp_path / "t5x"), destination_format="t5x", weights_only=True
    )
    assert not there.optimizer
    convert(str(there.destination), str(tmp_path / "back"), weights_only=True)
    info = json.loads((tmp_path / f"back/checkpoints/{STEP}/info/metadata").read_text())
    # Fine-tuning, and with it the decay of the moments, begins where they do.
    assert info["first_step"] == STEP


def test_weights_are_on_disk_before_they_have_their_name(own_run, tmp_path, on_disk):
    target = tmp_path / "t5x" / f"checkpoint_{STEP}"
    convert(str(own_run), str(target), destination_format="t5x_orbax", weights_only=True)
    (renamed,) = [n for n, it in enumerate(on_disk) if it[0] == "rename" and it[2] == str(target)]
    unfinished = on_disk[renamed][1]
    before = {path for kind, path, *_ in on_disk[:renamed] if kind == "fsync"}
    names = {str(path.relative_to(target)) for path in target.rglob("*")}
    assert len(names) > 5 and {f"{unfinished}/{name}" for name in names} <= before
    assert ("fsync", str(target.parent)) in on_disk[renamed:]


def test_from_a_run_the_best_checkpoint_is_taken(own_run, trained_state, tmp_path):
    later = tmp_path / "run"
    checkpoints = Checkpoints(epath.Path(later), keep=2)
    for step, metric in ((3, 0.2), (4, 0.9), (6, 0.1)):
        number = jax.numpy.int32(step)
        moments = trained_state.optimizer._replace(step=number)
        checkpoints.save(trained_state._replace(optimizer=moments), 0, metric=metric)
    checkpoints.wait()
    checkpoints.close()
    assert load_params(str(later), CONFIG)[1] == 4
    assert load_params(str(later / "checkpoints" / "6"), CONFIG)[1] == 6


def test_names_agree_with_the_models(own_run, trained_state):
    folder = own.locate(epath.Path(own_run))
    tensors = own.open_weights(folder).params
    expected = {
        "/".join(str(key.key) for key in path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(to_t5x(trained_state.params))
    }
    assert tensors.keys() == expected.keys()
    assert all(np.array_equal(tensors[name].whole(), leaf) for name, leaf in expected.items())


@pytest.mark.parametrize(
    ("name", "settled"),
    [("checkpoint_12", "checkpoint_12"), ("models", "models/checkpoint_12")],
)
def test_t5x_checkpoints_are_named_as_t5x_names_them(own_run, tmp_path, name, settled):
    there = convert(str(own_run), str(tmp_path / name), destination_format="t5x")
    assert there.destination == tmp_path / settled
    # A folder of checkpoints stands for its newest one.
    assert load_params(str(tmp_path / name), CONFIG)[1] == STEP


def test_nothing_is_left_of_a_conversion_that_fails(own_run, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("recalign.weights.stores.write", full)
    for name in ("t5x", "t5x_orbax"):
        with pytest.raises(UserError, match="cannot write .*no space left .*; nothing was changed"):
            convert(str(own_run), str(tmp_path / "x"), destination_format=name)
        assert not list(tmp_path.rglob("*checkpoint*"))


def test_what_exists_is_not_overwritten(own_run, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="it exists already"):
        convert(str(own_run), str(tmp_path / "there"), destination_format="hugging_face")


def test_a_damaged_own_checkpoint_is_not_converted(copied_run, tmp_path):
    info = copied_run / f"checkpoints/{STEP}/info/metadata"
    stated = json.loads(info.read_text())
    digits = stated["fingerprints"]["params"]
    stated["fingerprints"]["params"] = digits[:-1] + ("0" if digits[-1] != "0" else "1")
    info.write_text(json.dumps(stated))
    with pytest.raises(UserError, match="info/metadata: damaged: not as it was written"):
        convert(str(copied_run), str(tmp_path / "x"), destination_format="hugging_face")
    info.write_text(json.dumps(integrity.sealed(stated)))
    with pytest.raises(UserError, match="damaged: its parameters are not what was written"):
        convert(str(copied_run), str(tmp_path / "x"), destination_format="hugging_face")
    with pytest.raises(UserError, match="damaged: its parameters are not what was written"):
        load_params(str(copied_run), CONFIG)


def test_a_checkpoint_that_is_not_the_runs_is_not_converted(own_run, tmp_path):
    """As one that was copied in from another run."""
    for folder in (own_run, own_run / "checkpoints" / str(STEP)):
        with pytest.raises(
            UserError, match=r"not the run's own checkpoint: emb_dim is .* and 24 in"
        ):
            convert(
                str(folder), str(tmp_path / "x"), destination_format="t5x", sizes={"emb_dim": 24}
            )
    own_sizes = dataclasses.asdict(CONFIG)
    convert(str(own_run), str(tmp_path / "x"), destination_format="t5x", sizes=own_sizes)


@pytest.mark.parametrize(
    ("destination", "options", "message"),
    [
        ("x", {}, "in which format"),
        ("x", {"destination_format": "torch"}, "'torch' is no format"),
        ("checkpoint_13", {}, "is of step 12: name it checkpoint_12"),
        ("gs://bucket/x", {}, "written to a local folder"),
        ("x", {"source_format": "t5x"}, "not in the format t5x; it looks like own"),
    ],
)
def test_unclear_orders_are_refused(own_run, tmp_path, monkeypatch, destination, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        convert(str(own_run), destination, **options)
    assert "\n" not in str(caught.value)


def test_a_folder_without_weights_says_what_would_do(tmp_path):
    with pytest.raises(UserError, match="holds no weights that are known"):
        convert(str(tmp_path), str(tmp_path / "x"))
    with pytest.raises(UserError, match="no such file or folder"):
        convert(str(tmp_path / "absent"), str(tmp_path / "x"))
