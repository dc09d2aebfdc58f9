"""ItemKNN's links, counted by hand."""

import numpy as np
import pytest

from recalign.baselines import item_to_item
from recalign.baselines.drivers.exchange import Parts
from recalign.baselines.item_to_item import nearest_neighbours

# Users of item 0: a b c; of 1: a b; of 2: a, who bought it twice; of 3: c; nobody has 4.
TRAIN = Parts(np.array([0, 1, 2, 2, 0, 1, 3, 0], np.int32), np.array([0, 4, 6, 8]))


def links(neighbours_kept=10, shrinkage=0.0):
    settings = {"neighbours": neighbours_kept, "shrinkage": shrinkage}
    return nearest_neighbours(TRAIN, 5, settings).links.toarray()


@pytest.mark.parametrize("block", [1, 2, 1024])
def test_cosines_of_users(monkeypatch, block):
    monkeypatch.setattr(item_to_item, "_BLOCK", block)
    expected = np.zeros((5, 5))
    expected[0, 1] = expected[1, 0] = 2 / 6**0.5
    expected[0, 2] = expected[2, 0] = 1 / 3**0.5
    expected[0, 3] = expected[3, 0] = 1 / 3**0.5
    expected[1, 2] = expected[2, 1] = 1 / 2**0.5
    np.testing.assert_allclose(links(), expected)
    expected[0, 1] = expected[1, 0] = 2 / (6**0.5 + 3)
    assert links(shrinkage=3.0)[0, 1] == pytest.approx(expected[0, 1])


def test_an_item_is_scored_by_its_nearest_neighbours():
    """Columns are the scored items: of 0 the nearest is 1, of 1 it is 0, of 2 it is 1."""
    found = links(neighbours_kept=1)
    assert np.argwhere(found).tolist() == [[0, 1], [0, 3], [1, 0], [1, 2]]


def test_order_and_repeats_of_a_history_do_not_matter_to_the_weights():
    model = nearest_neighbours(TRAIN, 5, {"neighbours": 10, "shrinkage": 0.0})
    first, second = model.scores([np.array([0, 1]), np.array([1, 0])]).toarray()
    np.testing.assert_allclose(first, second)
