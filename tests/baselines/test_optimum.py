"""The optimum's ranking rule against an enumeration of every way to draw the pool."""

import itertools

import numpy as np
import pytest

from recalign.baselines.references import optimal_scores, popularity_ranks
from recalign.data.synthetic import CorpusConfig, draw_law


def _probability_of_drawing(wanted: list[int], weights: np.ndarray, excluded: set[int]) -> float:
    """Successive sampling without replacement: sum over the orders of `wanted`."""
    total = 0.0
    for order in itertools.permutations(wanted):
        left = {i for i in range(len(weights)) if i not in excluded}
        probability = 1.0
        for item in order:
            probability *= weights[item] / sum(weights[i] for i in left)
            left.remove(item)
        total += probability
    return total


def test_ranking_scores_equal_enumeration():
    rng = np.random.default_rng(0)
    law = draw_law(CorpusConfig(themes=3, products=4), rng)
    counts = rng.integers(1, 20, 12)
    history, pool = [0, 5], np.array([1, 7, 3, 10])
    expected = []
    for positive in pool:
        negatives = [int(item) for item in pool if item != positive]
        drawn = _probability_of_drawing(negatives, counts, {*history, int(positive)})
        expected.append(law.next_item(history)[positive] * drawn)
    scores = optimal_scores(law, history, pool, counts)
    np.testing.assert_allclose(scores / scores.sum(), np.array(expected) / sum(expected), rtol=1e-6)


def test_popularity_ranks_by_count_then_index():
    assert popularity_ranks(np.array([3, 9, 3, 0])).tolist() == [1, 0, 2, 3]


@pytest.mark.parametrize("count", [0, 1])
def test_ranking_scores_survive_items_without_counts(count):
    law = draw_law(CorpusConfig(themes=3, products=4), np.random.default_rng(0))
    scores = optimal_scores(law, [0], np.array([1, 2]), np.full(12, count))
    assert np.isfinite(scores).all() and (scores > 0).all()
