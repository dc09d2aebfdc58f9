"""MIM's and MLM's masks: how many, where, and that nothing is lost."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from recalign.preprocessors import masks
from recalign.preprocessors.draws import Draws

EOS = 1
FIRST = 1000
RULE = masks.Corruption(ratio=0.2, mean_span_length=3.0, most_spans=100)


def draws(count, seed=0):
    return Draws(seed, tf.range(count, dtype=tf.int64))


def corrupt(rows, seed=0, ratio=0.2, mean=3.0, most=100):
    tokens = tf.ragged.constant([[*row, EOS] for row in rows], tf.int32)
    rule = masks.Corruption(ratio, mean, most)
    inputs, targets = masks.corrupted(tokens, draws(len(rows), seed), rule, FIRST)
    return inputs.to_list(), targets.to_list()


def restored(inputs, targets):
    """Each sentinel of the inputs replaced by what follows it in the targets."""
    spans, current = {}, None
    assert inputs[-1] == targets[-1] == EOS
    for token in targets[:-1]:
        if token > FIRST - 100:
            current = token
            spans[current] = []
        else:
            spans[current].append(token)
    return [t for token in inputs[:-1] for t in spans.get(token, [token])]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(2, 150), min_size=1, max_size=6),
    st.sampled_from([0.1, 0.2, 0.5]),
    st.sampled_from([1.0, 3.0, 8.0]),
    st.integers(0, 1000),
)
def test_spans_put_back_give_the_original(lengths, ratio, mean, seed):
    rows = [[10 + n for n in range(length)] for length in lengths]
    inputs, targets = corrupt(rows, seed, ratio, mean=mean)
    for row, shown, answer in zip(rows, inputs, targets, strict=True):
        assert restored(shown, answer) == row
        noise, spans = masks.Corruption(ratio, mean, 100).counts(len(row))
        sentinels = [token for token in shown if token > FIRST - 100]
        assert sentinels == [FIRST - n for n in range(spans)]
        assert len(shown) == len(row) - noise + spans + 1
        assert len(answer) == noise + spans + 1
        assert shown[0] < FIRST - 100, "a text starts with an uncorrupted span"


@pytest.mark.parametrize("length", [10, 60, 400])
def test_a_fifth_of_the_tokens_is_corrupted(length):
    _, targets = corrupt([[9] * length], ratio=0.2)
    assert sum(token == 9 for token in targets[0]) == length // 5


def test_all_divisions_into_spans_are_equally_likely():
    # 8 tokens, 4 corrupted in 2 spans, 4 kept in 2 spans: 3 x 3 ways.
    times = 9000
    inputs, _ = corrupt([list(range(10, 18))] * times, ratio=0.5, mean=2.0)
    _, counts = np.unique([str(row) for row in inputs], return_counts=True)
    assert len(counts) == 9
    assert stats.chisquare(counts).pvalue > 1e-4


def test_counts_by_hand():
    # 0.2 * 60 = 12 tokens, 12 / 3 = 4 spans; 0.2 * 3 rounds to 1; of two tokens one stays.
    assert [tuple(map(int, RULE.counts(length))) for length in (60, 3, 2)] == [
        (12, 4), (1, 1), (1, 1),
    ]  # fmt: skip


def test_no_more_spans_than_sentinels():
    inputs, _ = corrupt([[9] * 100], ratio=0.5, mean=1.0, most=7)
    assert sum(token > FIRST - 100 for token in inputs[0]) == 7


@pytest.mark.parametrize(
    ("inputs", "targets"), [(512, 128), (30, 128), (512, 10), (64, None), (None, 40)]
)
def test_the_longest_text_that_fits_does_fit(inputs, targets):
    longest = masks.longest_that_fits(inputs, targets, RULE)
    for length in range(2, longest + 1):
        noise, spans = RULE.counts(length)
        assert inputs is None or length - noise + spans + 1 <= inputs
        assert targets is None or noise + spans + 1 <= targets
    assert masks.longest_that_fits(None, None, RULE) is None


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 25), st.sampled_from([0.1, 0.2, 0.35, 0.9]), st.integers(0, 1000))
def test_masked_items_are_a_share_of_those_present_and_at_least_one(present, ratio, seed):
    present_BxW = tf.constant([[False] * (25 - present) + [True] * present] * 3)
    masked = masks.choose_masked(present_BxW, ratio, draws(3, seed)).numpy()
    expected = max(1, int(np.floor(present * ratio + 0.5)))
    assert (masked.sum(axis=1) == expected).all()
    assert not masked[:, : 25 - present].any()


def test_every_item_is_masked_equally_often():
    present = tf.ones([10000, 20], tf.bool)
    counts = masks.choose_masked(present, 0.2, draws(10000)).numpy().sum(axis=0)
    assert counts.sum() == 40000
    assert stats.chisquare(counts).pvalue > 1e-4
