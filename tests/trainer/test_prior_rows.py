"""A prior's row of scores: its best items, and what its probabilities are divided by."""

import math

import numpy as np
import pytest
import scipy.sparse as sp

from recalign.trainer.prior_rows import best_items, best_of, log_totals, rows_of


def test_best_items():
    prior = np.array([2, 4, 6, 8]), np.array([1.0, 3.0, 3.0, 2.0])
    assert best_items(prior, 3).tolist() == [4, 6, 8]
    assert best_items(prior, 5).tolist() == [4, 6, 8, 2, -1]


def test_rows_hold_what_is_scored_in_the_order_of_items():
    scores = sp.csr_array(([2.0, 0.0, 1.0], [3, 1, 0], [0, 3, 3]), (2, 4))
    (items, values), (none, _) = rows_of(scores)
    assert (items.tolist(), values.tolist(), len(none)) == ([0, 3], [1.0, 2.0], 0)


def test_ties_at_the_last_place_go_to_the_first_items():
    prior = np.array([1, 3, 5, 7, 9]), np.array([2.0, 1.0, 2.0, 5.0, 2.0])
    items, scores = best_of(prior, 3)
    assert (items.tolist(), scores.tolist()) == ([7, 1, 5], [5.0, 2.0, 2.0])


def test_totals_by_hand():
    """The roots of 4 and 9 add up to 5, and their squares to 97; so do much smaller ones."""
    prior = np.array([0, 1]), np.array([4.0, 9.0])
    found = log_totals(prior, [1.0, 2.0, 0.5])
    assert found == pytest.approx({1.0: math.log(13), 2.0: math.log(5), 0.5: math.log(97)})
    tiny = prior[0], prior[1] * 1e-200
    assert log_totals(tiny, [0.5])[0.5] == pytest.approx(math.log(97) - 400 * math.log(10))
    assert log_totals((np.zeros(0, int), np.zeros(0)), [1.0]) == {1.0: -math.inf}
