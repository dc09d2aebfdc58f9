import numpy as np
import pytest

from recalign.data.ids import item_id, item_order, look_alike
from recalign.errors import UserError


def test_random_ids_do_not_depend_on_the_order_of_the_log():
    forward = item_order("random", ["a", "b", "c", "d"], np.arange(4), seed=3)
    backward = item_order("random", ["d", "c", "b", "a"], np.arange(4), seed=3)
    assert [["a", "b", "c", "d"][i] for i in forward] == [["d", "c", "b", "a"][i] for i in backward]


def test_random_ids_are_a_permutation_that_the_seed_decides():
    raw_ids = [f"{i:04}" for i in range(1000)]
    order = item_order("random", raw_ids, np.arange(1000), seed=0)
    assert sorted(order.tolist()) == list(range(1000))
    assert (order != item_order("random", raw_ids, np.arange(1000), seed=1)).any()
    # Neighbours in the catalogue are no neighbours in the log: 2 of 1000 by chance.
    assert (np.abs(np.diff(order)) == 1).sum() < 12


def test_sequential_ids_follow_first_appearance_in_the_sequences():
    order = item_order("sequential", ["a", "b", "c"], np.asarray([2, 0, 2, 1]), seed=0)
    assert order.tolist() == [2, 0, 1]


def test_ids_start_at_one():
    assert [item_id(0), item_id(11923)] == ["I1", "I11924"]


@pytest.mark.parametrize("method", ["radom", "Random"])
def test_methods_that_are_not_there(method):
    with pytest.raises(UserError, match=method):
        item_order(method, ["a"], np.asarray([0]), seed=0)


@pytest.mark.parametrize(
    ("log_ids", "ids", "alike"),
    [
        (["I2", "x"], ["I1", "I2"], True),
        (["x", "I17"], ["I1", "I2"], True),  # the log may have had an I2, too
        (["x", "Item2"], ["I1", "I2"], False),
        (["Ia1b2", "x"], ["I1", "I2"], False),
        (["I2", "x"], ["Ia1b2", "Ia1b2c1"], False),
        (["Ia7b0c3", "x"], ["Ia1b2", "Ia1b2c1"], True),
        (["Ia7_b0", "x"], ["Ia1b2", "Ia1b2c1"], False),
        ([], ["I1"], False),
    ],
)
def test_the_form_of_ids(log_ids, ids, alike):
    assert look_alike(log_ids, ids) == alike
