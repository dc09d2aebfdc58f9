"""Few lengths, with the least padding."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recalign.trainer.lengths import chosen_lengths, describe_padding, share_of_padding


def cost(lengths_N, chosen, batch_size):
    """Places of all batches, and eight batches of the longest for each length."""
    places = 0
    for before, length in itertools.pairwise([0, *chosen]):
        inside = sum(before < n <= length for n in lengths_N)
        places += -(-inside // batch_size) * batch_size * length
    return places + 8 * batch_size * chosen[-1] * len(chosen)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=300), st.integers(1, 4))
def test_no_other_lengths_cost_less(lengths, batch_size):
    chosen = chosen_lengths(np.array(lengths), 40, batch_size)
    assert chosen == sorted(set(chosen)) and chosen[-1] >= max(lengths)
    grid = [length for length in range(8, 41, 8) if length <= chosen[-1]]
    others = [
        sorted({*some, chosen[-1]})
        for size in range(len(grid))
        for some in itertools.combinations(grid, size)
    ]
    assert cost(lengths, chosen, batch_size) == min(cost(lengths, o, batch_size) for o in others)


def test_as_long_as_need_be():
    assert chosen_lengths(np.array([700] * 9), 1024, 4) == [704]
    assert chosen_lengths(np.array([1000]), 1000, 4) == [1000]
    assert chosen_lengths(np.array([3]), 3, 1) == [3]


def test_splits_of_like_examples_choose_the_same():
    draws = np.random.default_rng(0)
    chosen = [
        chosen_lengths(draws.normal(600, 60, size).clip(100, 1024).astype(int), 1024, 16)
        for size in (3000, 19_000)
    ]
    assert len(chosen[0]) < 5 and set(chosen[0]) <= set(range(64, 1025, 64)) >= set(chosen[1])


def test_share_of_padding_by_hand():
    # Two batches of two at 8, of which 3 + 5 + 7 are tokens, one of two at 16, of which 9 are.
    assert share_of_padding(np.array([3, 5, 9, 7]), [8, 16], 2) == pytest.approx(1 - 24 / 64)


def test_padding_is_told_in_words():
    # Of 100 rows of 16 and five of 40 places, 1,170 of 1,800 hold a token.
    lengths = np.array([10] * 100 + [30] * 3 + [40] * 2)
    assert describe_padding(lengths, 64, 1) == (
        "inputs are padded to 16 or 40 tokens; padding takes 35% of the places"
    )
    # Five batches of two, the last row of them repeated.
    assert describe_padding(np.array([2000] * 9), 2048, 2) == (
        "inputs are padded to 2,048 tokens; padding takes 12% of the places"
    )
