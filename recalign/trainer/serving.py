"""Requests as JSON lines: a process that keeps a run's model and answers line by line."""

import collections
import json
import math
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TextIO

import numpy as np

from recalign.errors import UserError, shown
from recalign.trainer.recommend import Recommender

_FIELDS = ("history", "k", "only", "exclude", "user", "untrained")
MOST_CHARACTERS = 2**24
"""Of a line: a list of a million allowed IDs fits."""


class Request(NamedTuple):
    """What a line asks for; `user` is handed back as it came."""

    history: list[str]
    k: int
    only: list[str] | None
    user: Any
    exclude: Sequence[str] = ()
    untrained: bool = True


def serve(
    recommender: Recommender,
    lines: Iterable[str],
    answers: TextIO,
    say: Callable[[str], None],
    *,
    k: int = 10,
    only: Sequence[str] | None = None,
) -> None:
    """Answers each line before it reads the next; whatever goes wrong with a line is its answer.

    {"history": ["I3", "I17"], "k": 2, "only": ["I5", "I9", "I30"], "user": 7} is answered by
    {"items": [{"id": "I9", "raw_id": …, "title": …, "score": 0.02, "log_prob": -3.9}, …],
    "latency_ms": 2.1, "user": 7}, and a bad line 12 by {"error": "…", "line": 12}. Empty lines are
    passed over.

    Everything but "history" may be left out of a line: `k` and `only` then say how many items, and
    of which IDs. `say` gets a line when all is compiled, and one about the latencies at the end.
    """
    begun = time.perf_counter()
    lengths = recommender.warm_up(k)
    say(f"ready: {lengths} prompt lengths compiled in {time.perf_counter() - begun:.1f} s")
    latencies_ms = Latencies()
    errors = 0
    try:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            begun = time.perf_counter()
            try:
                request = parse(line, k, only)
                items = recommender.recommend(
                    request.history,
                    request.k,
                    request.only,
                    exclude=request.exclude,
                    user=str(request.user) if isinstance(request.user, str | int) else None,
                    untrained=request.untrained,
                )
                latency_ms = (time.perf_counter() - begun) * 1e3
                answer = {
                    "items": [item._asdict() for item in items],
                    "latency_ms": round(latency_ms, 3),
                }
                written = _line(answer if request.user is None else answer | {"user": request.user})
                latencies_ms.add(latency_ms)
            except Exception as error:  # one request must not end those after it
                errors += 1
                if not isinstance(error, UserError):
                    say(f"line {number}: {''.join(traceback.format_exception(error)).strip()}")
                written = _line({"error": _in_one_line(error), "line": number})
            answers.write(written)
            answers.flush()
    finally:
        say(latencies_ms.summary(errors))


def lines_of(stream: TextIO) -> Iterator[str]:
    """The lines of a stream, a longer one than may be asked cut short: memory stays bounded."""
    while line := stream.readline(MOST_CHARACTERS + 1):
        rest = line
        while len(rest) > MOST_CHARACTERS and not rest.endswith("\n"):
            rest = stream.readline(MOST_CHARACTERS + 1)
        yield line


def _in_one_line(error: Exception) -> str:
    if isinstance(error, UserError):
        return str(error)
    said = str(error).strip().split("\n")[0][:200]
    return f"the request failed: {type(error).__name__}{': ' if said else ''}{said}"


def parse(line: str, k: int, only: Sequence[str] | None) -> Request:
    """A line as a request; a UserError says what is wrong with it."""
    if len(line) > MOST_CHARACTERS:
        raise UserError(f"a line of more than {MOST_CHARACTERS:,} characters")
    try:
        given = json.loads(line, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        raise UserError(f"not JSON: {error}") from error
    if not isinstance(given, Mapping) or "history" not in given:
        raise UserError('not a request: an object with "history" is needed')
    unknown = [name for name in given if name not in _FIELDS]
    if unknown:
        raise UserError(f"unknown field {shown(unknown[0])}; there are {', '.join(_FIELDS)}")
    wanted = given.get("k", k)
    if not isinstance(wanted, int) or isinstance(wanted, bool) or wanted < 1:
        raise UserError(f'"k" must be a whole number of at least 1, not {shown(wanted)}')
    untrained = given.get("untrained", True)
    if not isinstance(untrained, bool):
        raise UserError(f'"untrained" must be true or false, not {shown(untrained)}')
    allowed = given.get("only")
    return Request(
        history=_ids(given["history"], "history"),
        k=wanted,
        only=(None if only is None else list(only)) if allowed is None else _ids(allowed, "only"),
        user=given.get("user"),
        exclude=_ids(given.get("exclude", []), "exclude"),
        untrained=untrained,
    )


def _finite(text: str) -> float:
    """A number of JSON, which Python would also read from NaN, Infinity and 1e999."""
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{shown(text)} is no finite number")
    return number


def _ids(value: Any, name: str) -> list[str]:
    """Raw IDs may be numbers in a log, and then are numbers here."""
    if not isinstance(value, list) or not all(
        isinstance(it, str | int) and not isinstance(it, bool) for it in value
    ):
        raise UserError(f'"{name}" must be a list of IDs')
    return [str(it) for it in value]


class Latencies:
    """Of the answers of a process that may answer for weeks: the first, and the last ones."""

    def __init__(self, most: int = 10_000):
        """Keeps `most` of them."""
        self.answers, self._first_ms = 0, 0.0
        self._last_ms: collections.deque[float] = collections.deque(maxlen=most)

    def add(self, latency_ms: float) -> None:
        if not self.answers:
            self._first_ms = latency_ms
        self.answers += 1
        self._last_ms.append(latency_ms)

    def summary(self, errors: int) -> str:
        """
        >>> latencies = Latencies()
        >>> for ms in (30.0, 2.0, 4.0): latencies.add(ms)
        >>> latencies.summary(1)
        '3 answers, 1 error | first 30.0 ms, p50 4.0 ms, p95 27.4 ms'
        """
        answers = f"{self.answers:,} answer{'' if self.answers == 1 else 's'}"
        counts = f"{answers}, {errors:,} error{'' if errors == 1 else 's'}"
        if not self.answers:
            return counts
        p50, p95 = np.percentile(self._last_ms, [50, 95])
        of = f" of the last {len(self._last_ms):,}" if self.answers > len(self._last_ms) else ""
        return f"{counts} | first {self._first_ms:.1f} ms, p50 {p50:.1f} ms, p95 {p95:.1f} ms{of}"


def _line(value: Mapping[str, Any]) -> str:
    """A line of JSON; a ValueError for a number that is not finite."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    # Half a surrogate pair, which a request may hand in, is no text but can be escaped.
    return f"{text.encode(errors='backslashreplace').decode()}\n"
