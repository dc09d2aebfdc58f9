"""Scores by links, against dense arithmetic and the rank that every other baseline is given."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.sparse as sp

from recalign.baselines import item_to_item
from recalign.baselines.drivers.exchange import Parts, target_ranks
from recalign.baselines.item_to_item import ItemToItem, Rule

ITEMS = 6


def dense_scores(links, decay, histories):
    """The definition, an item at a time."""
    return np.array(
        [
            sum((decay**age * links[item] for age, item in enumerate(reversed(h))), np.zeros(ITEMS))
            for h in histories
        ]
    )


@st.composite
def cases(draw):
    weights = st.sampled_from([0.0, 0.0, 0.0, 0.5, 1.0])  # few values, so that many scores tie
    links = draw(st.lists(weights, min_size=ITEMS**2, max_size=ITEMS**2))
    item = st.integers(0, ITEMS - 1)
    users = draw(
        st.lists(st.tuples(st.lists(item, min_size=1, max_size=4), item), min_size=1, max_size=5)
    )
    histories = [np.array(history) for history, _ in users]
    return np.array(links).reshape(ITEMS, ITEMS), histories, np.array([it for _, it in users])


@hypothesis.given(cases(), st.booleans())
def test_ranks_are_those_of_dense_scores(case, leave_out_seen):
    links, histories, targets = case
    model = ItemToItem(sp.csr_array(links), decay=0.5)
    scores = dense_scores(links, 0.5, histories)
    np.testing.assert_allclose(model.scores(histories).toarray(), scores)
    expected = target_ranks(scores, targets, histories if leave_out_seen else None)
    np.testing.assert_array_equal(model.ranks(histories, targets, leave_out_seen), expected)
    pools = np.tile(np.arange(ITEMS)[::-1], (len(histories), 1))
    np.testing.assert_allclose(model.pool_scores(histories, pools), scores[:, ::-1])


def test_more_users_than_are_scored_at_once(monkeypatch):
    monkeypatch.setattr(item_to_item, "_BATCH", 2)
    model = ItemToItem(sp.csr_array(np.eye(3)[[1, 2, 0]]), decay=1.0)
    histories = [np.array([item]) for item in (0, 1, 2, 0, 1)]
    assert model.ranks(histories, np.array([1, 2, 0, 0, 0]), False).tolist() == [0, 0, 0, 1, 1]
    assert model.pool_scores(histories, np.tile([0, 1], (5, 1))).tolist() == [
        [0, 1], [0, 0], [1, 0], [0, 1], [0, 0]]  # fmt: skip


def test_nobody_to_answer_for():
    model = ItemToItem(sp.csr_array((3, 3)), decay=1.0)
    assert model.ranks([], np.zeros(0, np.int64), True).shape == (0,)
    assert model.pool_scores([], np.zeros((0, 4), np.int32)).shape == (0, 4)


def test_tuning_takes_the_better_setting_and_says_so():
    """Links to the next item under `right`, to the one before it otherwise."""

    def fit(train, num_items, settings):
        shift = 1 if settings["right"] else -1
        return ItemToItem(sp.csr_array(np.roll(np.eye(num_items), shift, axis=1)), 1.0)

    train = Parts(np.array([0, 1, 1, 2], np.int32), np.array([0, 2, 4]))
    rule = Rule(fit, start={"right": 0, "other": 1}, choices={"other": (1, 2), "right": (0, 1)})
    said = []
    found = item_to_item.tuned(rule, train, np.array([0, 1]), np.array([2, 3]), 6, said.append)
    # Item 1 points to 2, 2 to 3; scores of age 1 tie with them, at a lower index that was seen.
    assert found.settings == {"right": 1, "other": 1}
    assert found.validation_ndcg == pytest.approx(1.0)
    assert said[1] == "  right 1: validation NDCG@10 1.0000"
    start = item_to_item.tuned(
        Rule(fit, {"right": 0}, {}), train, np.array([0, 1]), np.array([2, 3]), 6
    )
    assert start.validation_ndcg < 1.0
