"""A process that answers for weeks: what a request or a run took is given back."""

import functools
import gc
import os
import sys
import weakref
from collections.abc import Iterator

import jax
import pytest

from recalign.errors import UserError
from recalign.trainer import serving
from recalign.trainer.recommend import MOST_HISTORY, Recommender
from recalign.trainer.serving import Latencies

ROUNDS = 10
LINES = (
    '{"history": ["I1"], "k": 3}',
    '{"history": ["I1", "I2", "I3"], "k": 30, "user": {"name": "Ada"}}',
    '{"history": ["I4"], "only": ["I5", "I6"], "exclude": ["I5"]}',
    '{"history": ["I7"], "k": 2, "user": 7}',
    '{"history": ["nothing"]}',
)


def ask(recommender: Recommender) -> None:
    """Requests of several kinds, those that are refused among them."""
    recommender.recommend(["I1"], k=3)
    recommender.recommend(["I1", "I2", "I3"], k=30, only=[f"I{n}" for n in range(1, 40)])
    recommender.recommend_many([["I4"], ["I5", "I6"]], k=3, exclude=["I7"])
    for history, k in ((["nothing"], 3), ([], 3), (["I1"] * (MOST_HISTORY + 1), 3)):
        with pytest.raises(UserError):
            recommender.recommend(history, k)


def rounds_that_leave_nothing(answers: int, most_spans: int = 40) -> Iterator[None]:
    """Rounds of so many answers, until ten of them leave less than half a block an answer.

    A block of memory is what Python gives a small object: to a float too, which the garbage
    collector does not track. TensorFlow's and JAX's caches fill for a hundred rounds, by 300 blocks
    in the first ten and 20 in the last. A leak is in all of them.
    """
    left = []
    while len(left) < most_spans:
        gc.collect()
        before = sys.getallocatedblocks()
        for _ in range(ROUNDS):
            yield
        gc.collect()
        left.append(sys.getallocatedblocks() - before)
        if left[-1] < ROUNDS * answers / 2:
            return
    raise AssertionError(f"{ROUNDS * answers} answers leave blocks each time: {left}")


def test_requests_leave_nothing_behind(trained):
    """No array, not an object a round, and nothing smaller."""
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
    for _ in rounds_that_leave_nothing(answers=6):
        ask(recommender)


def test_lines_leave_nothing_behind(trained, monkeypatch):
    """And a float an answer is seen: a latency, where the bound of their number is far away."""
    recommender = Recommender(trained[0].model_dir)

    def serve(most_latencies: int, most_spans: int) -> None:
        latencies = functools.partial(Latencies, most_latencies)
        monkeypatch.setattr(serving, "Latencies", latencies)
        rounds = rounds_that_leave_nothing(answers=4, most_spans=most_spans)
        with open(os.devnull, "w") as sink:
            serving.serve(recommender, (line for _ in rounds for line in LINES), sink, print)

    serve(most_latencies=10, most_spans=40)
    with pytest.raises(AssertionError, match="40 answers leave blocks each time"):
        serve(most_latencies=10_000, most_spans=10)


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
