"""A run's checkpoints are its own: another run's in its folder are refused."""

import json
import pathlib
import shutil

import pytest

from recalign.data import integrity
from recalign.errors import UserError
from recalign.report.run import read_run
from recalign.trainer.evaluation import evaluate
from recalign.trainer.experiment import load_experiment
from recalign.trainer.recommend import Recommender
from recalign.weights import convert
from tests.trainer.conftest import FILES, bindings, files


def marks(run: pathlib.Path) -> dict[str, str | None]:
    """What run.json and every checkpoint say of which run they are."""
    found = [run / "run.json", *run.glob("checkpoints/*/info/metadata")]
    return {str(path.relative_to(run)): json.loads(path.read_text()).get("run") for path in found}


def test_a_run_keeps_its_mark_whatever_changes_on_the_way(again):
    (before,) = set(marks(again.run).values())
    assert before
    again(force=True, DROPOUT_RATE=0.2, LEARNING_RATE=0.01, TRAIN_STEPS=5)
    again(force=True, TRAIN_STEPS=6)
    assert set(marks(again.run).values()) == {before}
    assert "checkpoints/6/info/metadata" in marks(again.run)


@pytest.fixture
def with_others_checkpoints(again, begun, tmp_path):
    """A copy of the run with the checkpoints of one that had another learning rate alone."""
    other = tmp_path / "other"
    again(MODEL_DIR=str(other), LEARNING_RATE=0.01, TRAIN_STEPS=1, CHECKPOINT_PERIOD=0)
    shutil.rmtree(again.run / "checkpoints")
    shutil.copytree(other / "checkpoints", again.run / "checkpoints")
    return load_experiment(FILES, bindings(**{**begun, "MODEL_DIR": str(again.run)}))


def test_the_checkpoints_of_another_run_are_refused_by_every_verb(
    again, with_others_checkpoints, tmp_path
):
    """Of the same sizes, so that nothing else would tell; `report` names them."""
    before = files(again.run)
    for verb in (
        again,
        lambda: evaluate(with_others_checkpoints, "test", "last", max_examples=2),
        lambda: Recommender(again.run),
        lambda: convert(str(again.run), str(tmp_path / "x"), destination_format="hugging_face"),
        lambda: again(MODEL_DIR=str(tmp_path / "new"), INITIAL_CHECKPOINT_PATH=str(again.run)),
    ):
        with pytest.raises(UserError, match="checkpoints/1 was saved by another run") as error:
            verb()
        assert str(error.value).startswith(str(again.run)) and "\n" not in str(error.value)
    assert "checkpoints/1: saved by another run than run.json is of." in read_run(again.run).gaps
    after = files(again.run)
    assert {name: after[name] for name in before} == before
    assert not [name for name in after if name.startswith(("predictions", "damaged"))]
    assert not (tmp_path / "x").exists() and not (tmp_path / "new").exists()


def test_checkpoints_that_do_not_say_whose_they_are_are_taken(again):
    """As those that were saved before 26 November 2026; the run has a mark from then on."""
    for name in marks(again.run):
        path = again.run / name
        written = json.loads(path.read_text())
        del written["run"]
        path.write_text(json.dumps(integrity.sealed(written)))
    again(TRAIN_STEPS=5)
    found = marks(again.run)
    assert found["run.json"] and found["checkpoints/5/info/metadata"] == found["run.json"]
    assert not [gap for gap in read_run(again.run).gaps if "another run" in gap]
    assert Recommender(again.run, "last").step == 5
    # One with a mark is no run's of before.
    old = json.loads((again.run / "run.json").read_text())
    del old["run"]
    (again.run / "run.json").write_text(integrity.sealed_json(old))
    with pytest.raises(UserError, match="checkpoints/5 was saved by another run"):
        Recommender(again.run, "last")
