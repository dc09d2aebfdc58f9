"""Negatives: never the user's own, no repeats, and the law of successive sampling."""

import itertools
import types

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from recalign.data.prepared import UserSequences
from recalign.errors import UserError
from recalign.preprocessors.draws import Draws
from recalign.preprocessors.negatives import NegativeSampler


class StandIn(types.SimpleNamespace):
    """A dataset that is a key by its identity, as prepared ones are."""

    __hash__ = object.__hash__


def stub(counts, own, unseen=None):
    """What the sampler reads of a dataset: counts of items, and users' sequences."""
    unseen = unseen or [[] for _ in own]

    def splits(rows):
        return np.cumsum([0, *map(len, rows)]).astype(np.int64)

    def flat(rows):
        return np.array(list(itertools.chain(*rows)), np.int32)

    sequences = UserSequences(
        users=[str(n) for n in range(len(own))],
        rows=np.arange(len(own)),
        items=flat(own),
        row_splits=splits(own),
        ratings=None,
        unseen=flat(unseen),
        unseen_splits=splits(unseen),
    )
    return StandIn(
        name="stub",
        catalogue=types.SimpleNamespace(train_counts=np.array(counts)),
        sequences=lambda split: sequences,
    )


def draw(dataset, count, record, times, seed=0):
    sampler = NegativeSampler(dataset, "train", count)
    positions = tf.range(times, dtype=tf.int64)
    return sampler(tf.fill([times], tf.constant(record, tf.int64)), Draws(seed, positions)).numpy()


@st.composite
def logs(draw_):
    items = draw_(st.integers(3, 30))
    counts = draw_(st.lists(st.sampled_from([0, 1, 1, 2, 5, 1000]), min_size=items, max_size=items))
    counts[0] = max(1, counts[0])
    sizes = st.integers(1, items - 1)
    own = [draw_(st.permutations(range(items)))[: draw_(sizes)] for _ in range(3)]
    free = items - max(map(len, own))
    return counts, own, draw_(st.integers(1, free))


@settings(max_examples=40, deadline=None)
@given(logs(), st.integers(0, 2**31))
def test_no_negative_is_the_users_own_and_none_repeats(log, seed):
    counts, own, count = log
    # The last item of each user is one that the split does not show.
    dataset = stub(counts, [o[:-1] for o in own], [o[-1:] for o in own])
    for record in range(3):
        for row in draw(dataset, count, record, 4, seed):
            assert len(set(row)) == count
            assert not set(row) & set(own[record])
            free = set(range(len(counts))) - set(own[record])
            popular = {i for i in free if counts[i] > 0}
            # An item that nobody bought in training comes only when the others are used up.
            assert len(set(row) & popular) == min(count, len(popular))


def successive_law(weights, own, count):
    """Probability of every ordered draw, by enumeration."""
    law = {}
    free = [i for i in range(len(weights)) if i not in own]
    for order in itertools.permutations(free, count):
        left, probability = sum(weights[i] for i in free), 1.0
        for i in order:
            probability *= weights[i] / left
            left -= weights[i]
        law[order] = probability
    return law


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param([30, 20, 15, 10, 5], id="independent draws are enough"),
        pytest.param([100000, 500, 300, 200, 1], id="completed by Gumbel top-k"),
    ],
)
def test_the_law_is_successive_sampling(counts):
    times = 20000
    drawn = draw(stub(counts, [[1], [2]]), 3, 0, times)
    law = successive_law(counts, {1}, 3)
    observed = dict.fromkeys(law, 0)
    for row in drawn.tolist():
        observed[tuple(row)] += 1
    expected = np.array([law[order] * times for order in law])
    counted = np.array([observed[order] for order in law])
    rare = expected < 5
    expected = np.append(expected[~rare], expected[rare].sum() or 1e-9)
    counted = np.append(counted[~rare], counted[rare].sum())
    assert stats.chisquare(counted, expected * counted.sum() / expected.sum()).pvalue > 1e-4


def test_what_users_own_is_looked_up_once_a_split():
    dataset = stub(range(1, 21), [[0], [1, 2]])
    asked, sequences = [], dataset.sequences
    dataset.sequences = lambda split: asked.append(split) or sequences(split)
    for count in (1, 5):
        NegativeSampler(dataset, "train", count)
    NegativeSampler(dataset, "test", 1)
    assert asked == ["train", "test"]


def test_another_position_or_seed_draws_others_and_the_same_draws_the_same():
    dataset = stub(range(1, 101), [[0]])
    first = draw(dataset, 5, 0, 50)
    assert np.array_equal(first, draw(dataset, 5, 0, 50))
    assert len({tuple(row) for row in first}) == 50
    assert not np.array_equal(first, draw(dataset, 5, 0, 50, seed=1))


def test_a_catalogue_that_is_too_small_is_a_users_error():
    with pytest.raises(UserError, match=r"lower TaskSettings.candidate_pool to at most 3"):
        NegativeSampler(stub([1, 1, 1, 1], [[0], [0, 1]]), "train", 3)
