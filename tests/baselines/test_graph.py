"""The transition graph's links, counted by hand."""

import numpy as np

from recalign.baselines.drivers.exchange import Parts
from recalign.baselines.item_to_item import RULES, transition_graph

# Two users: 0 1 2 3 and 1 2.
TRAIN = Parts(np.array([0, 1, 2, 3, 1, 2], np.int32), np.array([0, 4, 6]))
PLAIN = {"span": 2, "backward": 0.0, "decay": 0.7, "from_power": 0.0, "to_power": 0.0}


def links(**settings):
    return transition_graph(TRAIN, 5, {**PLAIN, **settings}).links.toarray()


def test_edges_are_sums_of_one_by_distance_within_a_user():
    expected = np.zeros((5, 5))
    expected[0, 1], expected[0, 2] = 1, 1 / 2
    expected[1, 2], expected[1, 3] = 2, 1 / 2
    expected[2, 3] = 1
    np.testing.assert_allclose(links(), expected)
    np.testing.assert_allclose(links(backward=0.5), expected + 0.5 * expected.T)
    expected[0, 3] = 1 / 3
    np.testing.assert_allclose(links(span=3), expected)
    np.testing.assert_allclose(links(span=8), expected)  # longer than any user


def test_degrees_are_the_weight_that_leaves_an_item():
    edges = links()
    degrees = np.array([1.5, 2.5, 1, 1, 1])  # items 3 and 4 lead nowhere: nothing is divided
    np.testing.assert_allclose(links(to_power=0.5), edges / degrees**0.5)
    np.testing.assert_allclose(links(from_power=0.3), edges / degrees[:, None] ** 0.3)


def test_a_score_adds_the_newest_item_in_full():
    """Item 3 of the history 1, 2: 1 from item 2, and 0.7 * 1/2 from item 1, one older."""
    model = transition_graph(TRAIN, 5, PLAIN)
    scores = model.scores([np.array([1, 2])]).toarray()
    np.testing.assert_allclose(scores, [[0, 0, 0.7 * 2, 1 + 0.7 / 2, 0]])


def test_tuning_starts_at_the_documented_rule():
    rule = RULES["graph"]
    assert rule.start == {
        "span": 3, "backward": 0.5, "decay": 0.7, "from_power": 0.0, "to_power": 0.3}  # fmt: skip
    assert set(rule.choices) == set(rule.start)
    for name, value in rule.start.items():
        assert value in rule.choices[name]
