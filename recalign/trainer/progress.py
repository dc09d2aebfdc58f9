"""How fast a run goes and how long it will go on."""

import collections
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple


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
    seconds = round((last_step - step) / max(rates.steps, 1e-9))
    to_go = f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{line} | {to_go} to go" if seconds else line
