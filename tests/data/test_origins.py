"""What run.json says, compared with what is there now."""

import pytest
from etils import epath

from recalign.data import integrity, origins
from recalign.data.origins import Difference, differences
from recalign.errors import UserError


def test_differences_name_what_only_one_has():
    before, now = (
        {"a": {"x": 1, "y": [2]}, "b": "s"},
        {"a": {"x": 1, "z": None, "y": [3]}, "b": "s"},
    )
    assert differences(before, now) == [Difference("a/y", [2], [3])]
    assert str(Difference("a/y", "f" * 64, None)) == f"a/y was {'f' * 12}… and is nothing"


@pytest.fixture
def run(tmp_path):
    made_from = {"mixture": "ut_x", "model": {"emb_dim": 16}}
    content = integrity.sealed_json({"made_from": made_from, "changes": []})
    (tmp_path / "run.json").write_text(content)
    return tmp_path


@pytest.mark.parametrize("place", [".", "checkpoints/12"])
def test_weights_are_of_the_run_that_they_lie_in(run, place):
    assert origins.of_weights(str(run / place)) == {"model": {"emb_dim": 16}}


@pytest.mark.parametrize("place", ["checkpoint_12", "checkpoints", "google/flan-t5-small"])
def test_of_other_weights_nothing_is_known(run, place):
    assert origins.of_weights(str(run / place)) == {}


def test_a_damaged_file_is_an_error(run):
    (run / "run.json").write_text((run / "run.json").read_text().replace("16", "24"))
    for read in (origins.read, origins.of_weights):
        with pytest.raises(UserError, match=r"run\.json: damaged: not as it was written"):
            read(epath.Path(run))
