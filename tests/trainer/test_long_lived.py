"""A process that answers for weeks: what a request or a run took is given back."""

import gc
import weakref

import jax
import pytest

from recalign.errors import UserError
from recalign.trainer.recommend import MOST_HISTORY, Recommender


def ask(recommender: Recommender) -> None:
    """Requests of several kinds, those that are refused among them."""
    recommender.recommend(["I1"], k=3)
    recommender.recommend(["I1", "I2", "I3"], k=30, only=[f"I{n}" for n in range(1, 40)])
    recommender.recommend_many([["I4"], ["I5", "I6"]], k=3, exclude=["I7"])
    for history, k in ((["nothing"], 3), ([], 3), (["I1"] * (MOST_HISTORY + 1), 3)):
        with pytest.raises(UserError):
            recommender.recommend(history, k)


def test_requests_leave_nothing_behind(trained):
    """No array, and not an object a round. tracemalloc sees 56 kB after 20 rounds and 137 kB after
    320, in small blocks of TensorFlow's and JAX's own, while the process does not grow."""
    recommender = Recommender(trained[0].model_dir)
    for _ in range(3):
        ask(recommender)  # compiles
    gc.collect()
    arrays, objects = len(jax.live_arrays()), len(gc.get_objects())
    for _ in range(20):
        ask(recommender)
    gc.collect()
    assert len(jax.live_arrays()) == arrays
    assert len(gc.get_objects()) < objects + 20


def test_a_run_that_is_let_go_takes_its_arrays_along(trained):
    """As a server does that opens the next checkpoint in place of the last."""
    gc.collect()
    before = len(jax.live_arrays())
    for _ in range(3):
        recommender = Recommender(trained[0].model_dir)
        ask(recommender)
        gone = weakref.ref(recommender)
        assert len(jax.live_arrays()) > before
        del recommender
        gc.collect()
        assert gone() is None
        assert len(jax.live_arrays()) == before
