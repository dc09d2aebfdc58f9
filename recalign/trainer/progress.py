"""How fast a run goes and how long it will go on."""

import collections
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

_SECONDS_BETWEEN_LINES = 10.0


class Rates(NamedTuple):
    """Steps and target and input tokens a second, padding left out."""

    steps: float
    tokens: float


class Pace:
    """Rates over the last `window` steps, from the end of a step to the end of a later one.

    So neither compilation, which comes before the end of the first step, nor pauses count, and a
    line that comes a step after the one before still speaks of `window` steps.
    """

    def __init__(self, window: int, clock: Callable[[], float] = time.perf_counter):
        self._clock = clock
        self._ends: collections.deque[tuple[float, int]] = collections.deque(maxlen=window + 1)
        self._tokens = 0
        self._paused = 0.0

    def step_ended(self, tokens: int) -> None:
        self._tokens += tokens
        self._ends.append((self._clock() - self._paused, self._tokens))

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Time that the rates do not count."""
        begun = self._clock()
        try:
            yield
        finally:
            self._paused += self._clock() - begun

    @property
    def rates(self) -> Rates | None:
        """None until a second step has ended."""
        if len(self._ends) < 2:
            return None
        (begin, tokens_before), (end, tokens) = self._ends[0], self._ends[-1]
        seconds = max(end - begin, 1e-9)
        return Rates((len(self._ends) - 1) / seconds, (tokens - tokens_before) / seconds)


def progress_line(step: int, last_step: int, loss: float, rates: Rates | None) -> str:
    """
    >>> progress_line(1200, 3000, 2.34567, Rates(12.5, 45678.9))
    'step 1,200 of 3,000 | loss 2.3457 | 12.5 steps/s | 45,679 tokens/s | 0:02:24 to go'
    >>> progress_line(3000, 3000, 2.34567, None)
    'step 3,000 of 3,000 | loss 2.3457'
    """
    line = f"step {step:,} of {last_step:,} | loss {loss:.4f}"
    if rates is None:
        return line
    line += f" | {rates.steps:.3g} steps/s | {rates.tokens:,.0f} tokens/s"
    return line + _to_go(last_step - step, rates.steps)


class Countdown:
    """Lines about the examples of a task that are decoded, one in ten seconds at most.

    The first batch is compiled, which says nothing of the rest: the rate counts from its end.
    """

    def __init__(self, total: int, clock: Callable[[], float] = time.perf_counter):
        self._total = total
        self._clock = clock
        self._said = clock()
        self._first: tuple[float, int] | None = None  # the first batch's end, and what was done

    def line(self, done: int) -> str | None:
        """After each batch; None where there is nothing to say yet."""
        now = self._clock()
        if self._first is None:
            self._first = now, done
            return None
        if now - self._said <= _SECONDS_BETWEEN_LINES:
            return None
        self._said = now
        rate = (done - self._first[1]) / (now - self._first[0])
        return done_line(done, self._total, "examples", rate)


def done_line(done: int, total: int, what: str, per_second: float) -> str:
    """
    >>> done_line(300, 500, "users", 20.0)
    '300 of 500 users | 20 users/s | 0:00:10 to go'
    >>> done_line(500, 500, "users", 25.0)
    '500 of 500 users | 25 users/s'
    """
    line = f"{done:,} of {total:,} {what} | {per_second:.3g} {what}/s"
    return line + _to_go(total - done, per_second)


def _to_go(left: int, per_second: float) -> str:
    """The end of a line; nothing where that is less than half a second."""
    seconds = round(left / max(per_second, 1e-9))
    to_go = f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f" | {to_go} to go" if seconds else ""
