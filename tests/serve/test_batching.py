import asyncio

import pytest

from recalign.serve.batching import Batcher, Full


def batched(scenario, answer, **options):
    """What a scenario returns, given a batcher that runs."""
    settings = {"largest_batch": 4, "longest_wait_s": 0.0, "most_waiting": 8, **options}

    async def main():
        batcher = Batcher(answer, **settings)
        running = asyncio.create_task(batcher.run())
        try:
            return await scenario(batcher)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    return asyncio.run(main())


def test_what_waits_together_is_answered_together_in_order():
    sizes = []

    def double(queries):
        sizes.append(len(queries))
        return [2 * query for query in queries]

    async def seven(batcher):
        return await asyncio.gather(*(batcher.ask([n]) for n in range(5)), batcher.ask([7, 8]))

    answers = batched(seven, double)
    assert answers == [[0], [2], [4], [6], [8], [14, 16]]
    assert sizes == [4, 3]


def test_a_batch_waits_for_more_no_longer_than_it_may():
    sizes = []

    async def late(batcher):
        first = asyncio.create_task(batcher.ask(["a"]))
        await asyncio.sleep(0.05)
        return await asyncio.gather(first, batcher.ask(["b"]))

    def count(queries):
        sizes.append(len(queries))
        return queries

    assert batched(late, count, longest_wait_s=30.0, largest_batch=2) == [["a"], ["b"]]
    assert sizes == [2]
    sizes.clear()
    assert batched(late, count, longest_wait_s=0.0, largest_batch=2) == [["a"], ["b"]]
    assert sizes == [1, 1]


def test_beyond_the_bound_nothing_is_taken():
    async def too_many(batcher):
        with pytest.raises(Full) as error:
            await batcher.ask(list(range(9)))
        assert error.value.retry_after_s == 1
        return batcher.waiting, await batcher.ask(list(range(8)))

    assert batched(too_many, list) == (0, list(range(8)))


def test_an_error_is_its_query_s_alone():
    asked, told, sizes = [], [], []

    def picky(queries):
        asked.append(list(queries))
        if "bad" in queries:
            raise ValueError("bad")
        return queries

    async def several(batcher):
        together = [batcher.ask([query]) for query in ("a", "bad", "b")]
        first = await asyncio.gather(*together, return_exceptions=True)
        return first, await batcher.ask(["c"])

    first, last = batched(
        several,
        picky,
        answered=lambda size, seconds: sizes.append(size),
        failed=lambda size, error: told.append((size, str(error))),
    )
    assert (first[0], first[2], last) == (["a"], ["b"], ["c"])
    assert isinstance(first[1], ValueError)
    assert asked == [["a", "bad", "b"], ["a"], ["bad"], ["b"], ["c"]]
    assert told == [(3, "bad")]  # the query's own error is for whoever asked
    assert sizes == [1, 1, 1]


def test_what_fails_together_may_be_answered_one_by_one():
    """As a batch does that the device has no memory for."""

    def small(queries):
        if len(queries) > 1:
            raise MemoryError
        return queries

    told = []
    answers = batched(
        lambda batcher: batcher.ask([1, 2, 3]),
        small,
        failed=lambda size, error: told.append((size, type(error))),
    )
    assert answers == [1, 2, 3]
    assert told == [(3, MemoryError)]


def test_who_no_longer_waits_is_not_answered():
    seen = []

    async def cancelled(batcher):
        gone = asyncio.create_task(batcher.ask(["gone"]))
        stays = asyncio.create_task(batcher.ask(["stays"]))
        await asyncio.sleep(0)
        gone.cancel()
        return await stays

    def noted(queries):
        seen.extend(queries)
        return queries

    assert batched(cancelled, noted, longest_wait_s=0.05) == ["stays"]
    assert seen == ["stays"]
