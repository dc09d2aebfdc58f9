"""What a request that cannot be answered does, to itself and to those beside it."""

import concurrent.futures

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from recalign.serve.application import Limits, make_app
from tests.serve.running import StandIn, ask, running


def test_a_request_that_fails_leaves_those_beside_it_alone():
    """Three clients are decoded together, and one of them breaks what it is decoded with."""

    class Breaking(StandIn):
        def answer(self, queries):
            if any(query.last == 13 for query in queries):
                raise RuntimeError("no memory at machine seven")
            return super().answer(queries)

    stand_in, said = Breaking(), []
    limits = Limits(largest_batch=3, longest_wait_ms=30_000)
    with (
        running(make_app(stand_in, k=1, limits=limits, say=said.append)) as (port, _),
        concurrent.futures.ThreadPoolExecutor(3) as pool,
    ):
        bodies = [{"history": [last]} for last in (4, 13, 8)]
        found = list(pool.map(lambda body: ask(port, "/recommend", body)[:2], bodies))
        figures = ask(port, "/metrics", method="GET")[1].decode().splitlines()
    assert [status for status, _ in found] == [200, 500, 200]
    assert (found[0][1]["items"][0]["id"], found[2][1]["items"][0]["id"]) == ("5", "9")
    assert found[1][1] == {"error": "the request failed"}
    # The batch that failed, and the request that was to blame: each with its traceback.
    of_batch, of_request = [line for line in said if "machine seven" in line]
    assert of_batch.startswith("3 histories failed together, and are decoded one by one: Traceback")
    assert of_request.startswith("Traceback") and of_request.count("Traceback") == 1
    assert stand_in.batches == [1, 1]
    assert "recalign_batch_size_count 2.0" in figures


def test_a_score_that_json_has_no_word_for_is_an_error():
    class Broken(StandIn):
        def _answer(self, query):
            items = super()._answer(query)
            items[0].score = float("nan")
            return items

    with running(make_app(Broken())) as (port, _):
        status, answer, _ = ask(port, "/recommend", {"history": [4]})
        assert (status, answer) == (500, {"error": "the request failed"})
