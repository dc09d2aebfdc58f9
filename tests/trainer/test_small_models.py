"""A small model from random weights on item tokens: tied, by AdamW, from every prefix."""

import jax
import numpy as np
import pytest

from recalign.errors import UserError
from recalign.trainer import evaluation, partitioning
from recalign.trainer.checkpoints import Checkpoints
from recalign.trainer.loop import train
from recalign.trainer.optimization import optimizer_of
from recalign.trainer.recommend import Recommender
from recalign.trainer.state import state_shape
from tests.corpus import make_corpus

SMALL = {
    "MIXTURE_OR_TASK_NAME": "retrieval_items",
    "VOCAB_SIZE": 768,
    "LOGITS_VIA_EMBEDDING": True,
    "EMBEDDING_STDDEV": 0.5,
    "EVERY_PREFIX": True,
    "OPTIMIZER_NAME": "adamw",
    "WEIGHT_DECAY": 0.1,
    "LEARNING_RATE": 0.01,
    "LEARNING_RATE_FACTORS": "constant * linear_warmup * cosine_decay",
    "STEPS_PER_CYCLE": 20,
}


@pytest.fixture(scope="module")
def items(data_dir):
    return make_corpus("items", data_dir, item_tokens=True)


def last_state(made):
    checkpoints = Checkpoints(made.directory, read_only=True)
    shape = state_shape(made.network, optimizer_of(made, 0), partitioning.make_mesh())
    saved = checkpoints.restore_latest(shape)
    checkpoints.close()
    return saved.state


@pytest.mark.slow
def test_it_goes_on_bit_for_bit_and_recommends_items(items, experiment, tmp_path):
    whole = experiment(**SMALL, MODEL_DIR=str(tmp_path / "whole"))
    assert train(whole) is None
    for steps in (5, 12):
        halves = experiment(**SMALL, MODEL_DIR=str(tmp_path / "halves"), TRAIN_STEPS=steps)
        assert train(halves) is None
    expected, found = last_state(whole), last_state(halves)
    assert int(found.step) == 12
    jax.tree.map(np.testing.assert_array_equal, found.params, expected.params)
    jax.tree.map(np.testing.assert_array_equal, found.optimizer, expected.optimizer)

    answers = Recommender(halves.model_dir).recommend(["I3", "I4"], k=len(items.catalogue))
    assert {answer.id for answer in answers} == set(items.catalogue.ids) - {"I3", "I4"}


@pytest.mark.slow
def test_an_id_is_one_token_of_the_trie(items, experiment):
    from recalign.trainer import setup

    small = experiment(**SMALL)
    with small.surroundings.entered():
        setup.prepare(small)
        (task,) = evaluation.tasks_with_metrics("retrieval_items", "test")
        trie = evaluation.answer_trie(task)
    assert trie.depth == 2
    assert trie.widths == (len(items.catalogue), 1, 0)


@pytest.mark.slow
def test_a_table_without_rows_for_the_items_is_refused(items, experiment, tmp_path):
    with pytest.raises(UserError, match=r"VOCAB_SIZE = 640 is too small .*set VOCAB_SIZE = 768"):
        train(experiment(**{**SMALL, "VOCAB_SIZE": 640}))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("macros", "message"),
    [
        ({"OPTIMIZER_NAME": "adam"}, "OPTIMIZER_NAME must be adafactor or adamw"),
        ({"WEIGHT_DECAY": 0.1}, "WEIGHT_DECAY must be 0, or above 0 with OPTIMIZER_NAME"),
        ({"ADAM_BETA2": 1.0}, "ADAM_BETA2 must be at least 0 and below 1"),
        ({"LEARNING_RATE_FACTORS": "constant * cosine"}, "no factor 'cosine'"),
    ],
)
def test_settings_that_make_no_sense(experiment, macros, message):
    with pytest.raises(UserError, match=message):
        experiment(**macros)
