"""What a person sees of a task is what the model gets."""

import re

import pytest

from recalign.errors import UserError
from recalign.preprocessors.settings import TaskSettings
from recalign.preprocessors.surroundings import Surroundings
from recalign.show import show_task
from tests.corpus import make_corpus


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("data")
    make_corpus("shown", path, content=True)
    return str(path)


@pytest.fixture(autouse=True)
def small_pools(data_dir):
    with Surroundings(data_dir, TaskSettings(candidate_pool=4)).entered():
        yield


def test_samples_are_decoded_from_their_tokens():
    blocks = list(show_task("ranking_shown", "test", 2))
    assert len(blocks) == 2
    for block in blocks:
        text = " ".join(block.split())
        assert re.match(
            r"ranking_shown, test, sample \d: \d+ tokens of inputs, [2-9] of targets Input: A user "
            r"has purchased .* Candidate items are: (I\d+, ){3}I\d+\. Output: I\d+$",
            text,
        )


def test_a_mixture_shows_each_of_its_tasks():
    blocks = show_task("ut_at_shown", n=1)
    names = [block.partition("_shown, train")[0] for block in blocks]
    assert sorted(names) == ["mim", "mlm", "ranking", "rating", "retrieval"]


def test_prompts_are_fitted_where_lengths_are_given():
    lengths = {"inputs": 70, "targets": 30}
    (block,) = show_task("retrieval_shown", n=1, sequence_length=lengths)
    assert int(re.search(r"(\d+) tokens of inputs", block)[1]) <= 70
    assert "What would the user buy next?" in " ".join(block.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mim_shown", "test"), "mim_shown has no split 'test'; it has train"),
        (("mim_shown", "train", 0), "n = 0: at least 1 sample is needed"),
        (("mim_showm",), "no task or mixture 'mim_showm'"),
    ],
)
def test_bad_requests_are_users_errors(arguments, message):
    with pytest.raises(UserError, match=message):
        list(show_task(*arguments))
