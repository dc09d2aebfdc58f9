"""BPR-MLP: its score and loss by hand, its negatives, and that it learns."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recalign.baselines import bpr_mlp
from recalign.baselines.drivers.exchange import Parts
from tests.baselines.drivers.test_exchange import question_of

# One user, two items, vectors of length 1, layers of width 2 and 1.
PARAMS = {
    "users": jnp.array([[2.0]]),
    "items": jnp.array([[1.0], [-3.0]]),
    "of_user": jnp.array([[1.0, -1.0]]),
    "of_item": jnp.array([[0.5, -1.0]]),
    "first_bias": jnp.array([0.0, 1.0]),
    "second": jnp.array([[2.0], [1.0]]),
    "second_bias": jnp.array([-1.0]),
    "out": jnp.array([0.25]),
}
# Item 0: (2.5, -2) -> (2.5, 0) -> 4 -> 1. Item 1: (0.5, 2) -> (0.5, 2) -> 2 -> 0.5.
SCORES = [1.0, 0.5]


def test_a_score_by_hand():
    found = bpr_mlp.scores(PARAMS, jnp.array([0, 0]), jnp.array([0, 1]))
    np.testing.assert_allclose(found, SCORES, rtol=1e-6)


def test_a_loss_by_hand():
    one = bpr_mlp.loss(PARAMS, jnp.array([0]), jnp.array([0]), jnp.array([1]), 0.0)
    assert float(one) == pytest.approx(math.log(1 + math.exp(-0.5)), rel=1e-6)
    with_squares = bpr_mlp.loss(PARAMS, jnp.array([0]), jnp.array([0]), jnp.array([1]), 0.1)
    assert float(with_squares - one) == pytest.approx(0.1 * (4.0 + 1.0 + 9.0), rel=1e-5)


def test_negatives_are_never_the_users_own_and_reach_every_other():
    train = Parts(np.array([0, 1, 2, 3], np.int32), np.array([0, 3, 4]))
    users = np.repeat([0, 1], 200)
    drawn = bpr_mlp.negatives(np.random.default_rng(0), train, users, 5)
    assert set(drawn[:200]) == {3, 4}
    assert set(drawn[200:]) == {0, 1, 2, 4}


def test_it_learns_which_items_a_user_would_take():
    """Two groups of users, each with its own half of the items: what is held out is of it."""
    rng = np.random.default_rng(0)
    users, items, each = 60, 20, 6
    own = np.stack([10 * (user % 2) + rng.permutation(10)[:each] for user in range(users)])
    question = question_of(
        settings={"vector": 8, "hidden": (16, 8), "learning_rate": 0.02, "l2": 0.0, "batch": 60},
        epochs=20,
        num_items=items,
        train=Parts(own[:, :-2].reshape(-1).astype(np.int32), np.arange(users + 1) * (each - 2)),
        seen=Parts(own[:, :-1].reshape(-1).astype(np.int32), np.arange(users + 1) * (each - 1)),
        valid_users=np.arange(users),
        valid_items=own[:, -2],
        test_users=np.arange(users),
        test_items=own[:, -1],
        pool_users=np.zeros(0, np.int64),
        pools=np.zeros((0, 2), np.int32),
    )
    lines = []
    answer = bpr_mlp.answer(question, lines.append)
    assert (answer.ranks < 10).mean() > 0.9
    assert 5 <= answer.about["epochs"] <= 20 and lines
    again = bpr_mlp.answer(question, lines.append)
    np.testing.assert_array_equal(answer.ranks, again.ranks)


def test_every_parameter_is_learned():
    params = bpr_mlp.initial(4, (8, 4), jax.random.key(0), 3, 5)
    batch = jnp.array([0, 1, 2]), jnp.array([0, 1, 2]), jnp.array([3, 4, 3])
    gradient = jax.grad(bpr_mlp.loss)(params, *batch, 0.0)
    assert {name for name, value in gradient.items() if not np.any(value)} == set()
