"""Requests that wait are answered together: what a device does for one it does for several."""

import asyncio
import concurrent.futures
import math
import time
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


class Full(Exception):
    """Nothing can be answered now; `retry_after_s` is when something may be."""

    def __init__(self, retry_after_s: int, reason: str = "too many requests are waiting"):
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class _Waiting(NamedTuple, Generic[Q, A]):
    query: Q
    answer: asyncio.Future[A]


class _Failed(NamedTuple):
    error: Exception


class Batcher(Generic[Q, A]):
    """Collects queries of one event loop, and has them answered in a thread, batch by batch.

    The first query of a batch waits for others until the batch is full or `longest_wait_s` are
    over; while a batch is being answered the next one gathers without a limit of time. The queries
    of a batch that fails are answered one by one, so that an error is of its own query alone.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Q]], Sequence[A]],
        *,
        largest_batch: int,
        longest_wait_s: float,
        most_waiting: int,
        answered: Callable[[int, float], None] = lambda size, seconds: None,
        failed: Callable[[int, Exception], None] = lambda size, error: None,
    ):
        """Answers nothing before `run`.

        `answer` gives the answers of some queries in their order. It is called in one thread, never
        at once, and there `answered` is told the size of each batch and how long it took, `failed`
        the size of each batch of several that failed, and why. `most_waiting` queries may wait,
        those being answered not counted.
        """
        self._answer, self._answered, self._failed = answer, answered, failed
        self._largest_batch, self._longest_wait_s = largest_batch, longest_wait_s
        self._most_waiting = most_waiting
        self._queue: asyncio.Queue[_Waiting[Q, A]] = asyncio.Queue()
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "batches")
        self._seconds_a_query = 0.0

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    async def ask(self, queries: Sequence[Q]) -> list[A]:
        """The answers of some queries, which need not be of one batch.

        Raises:
          Full: they would be more than may wait; then none of them is answered.
          Exception: what `answer` raised for one of them.
        """
        if self.waiting + len(queries) > self._most_waiting:
            seconds = math.ceil(self.waiting * self._seconds_a_query)
            raise Full(min(max(1, seconds), 60))
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in queries]
        for query, future in zip(queries, futures, strict=True):
            self._queue.put_nowait(_Waiting(query, future))
        try:
            return await asyncio.gather(*futures)
        finally:
            for future in futures:
                future.cancel()  # of somebody who no longer waits

    async def run(self) -> None:
        """Answers until it is cancelled; the batch that is being answered is ended."""
        try:
            while True:
                batch = await self._gathered()
                if batch:
                    await asyncio.shield(self._answer_all(batch))
        finally:
            self._thread.shutdown(wait=True)

    async def _gathered(self) -> list[_Waiting[Q, A]]:
        batch = [await self._queue.get()]
        end = asyncio.get_running_loop().time() + self._longest_wait_s
        while len(batch) < self._largest_batch:
            if not self._queue.empty():
                batch.append(self._queue.get_nowait())
                continue
            left = end - asyncio.get_running_loop().time()
            if left <= 0:
                break
            try:
                batch.append(await asyncio.wait_for(self._queue.get(), left))
            except TimeoutError:
                break
        return [waiting for waiting in batch if not waiting.answer.cancelled()]

    async def _answer_all(self, batch: Sequence[_Waiting[Q, A]]) -> None:
        found = await asyncio.get_running_loop().run_in_executor(
            self._thread, self._answers_or_errors, [waiting.query for waiting in batch]
        )
        for waiting, answer in zip(batch, found, strict=True):
            if waiting.answer.done():
                continue
            if isinstance(answer, _Failed):
                waiting.answer.set_exception(answer.error)
            else:
                waiting.answer.set_result(answer)

    def _answers_or_errors(self, queries: Sequence[Q]) -> Sequence[A | _Failed]:
        try:
            return self._answers(queries)
        except Exception as error:
            if len(queries) == 1:
                return [_Failed(error)]
            self._failed(len(queries), error)
        return [answer for query in queries for answer in self._answers_or_errors([query])]

    def _answers(self, queries: Sequence[Q]) -> Sequence[A]:
        begun = time.perf_counter()
        answers = self._answer(queries)
        seconds = time.perf_counter() - begun
        self._seconds_a_query = seconds / len(queries)
        self._answered(len(queries), seconds)
        return answers
