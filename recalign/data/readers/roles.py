"""What the name of a column does not say: which one holds the time and how it is written, and which
kinds of events in a log count."""

import dataclasses
import datetime
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from recalign.data.readers.columns import EVENT, known_for, moment_rank, several_fit, words
from recalign.data.readers.tally import WARNING, Tally
from recalign.data.readers.times import (
    TimeFormat,
    fitting_formats,
    given_format,
    pattern_of_digits,
)
from recalign.errors import UserError

if TYPE_CHECKING:
    from recalign.data.readers.sources import Source

_SECONDS = (3e8, 2.1e9)
"""1979 to 2036, as seconds since 1970."""

_DAYS = (29_221, 55_153)
"""1980 to 2050, as a spreadsheet counts days: only of a column that is named for a time."""

_MORE = 200_000
"""Records that are looked at where the first ones leave two ways to read a date."""

_MOST_KINDS = 50
"""A column of more kinds is not one of events."""

_PURCHASE = re.compile(
    "(?:re|pre)?(?:(?:purchas|buy|bought|order|transaction|sale|sold|checkout|paid).*|pay(?:s|ments?)?)"
)
_NO_PURCHASE = re.compile(
    "cancel|refund|return|fail|declin|reject|abandon|void|remov|delet|begin|start|initiat|attempt"
    "|view|click|wish|intent|pending|(?:^|[^a-z])(?:not|un|in)_?(?:complete|paid)|expire"
)
"""What makes another event of one that is named for a purchase."""


def find_time(
    source: "Source", found: dict[str, str], given: str
) -> tuple[dict[str, str], TimeFormat | None, bool]:
    """The columns with that of the time, where there is one; how it is written; and whether it was
    found by what it holds. A UserError where several columns hold times, or where dates can be
    read in two ways."""
    by_values = False
    if "time" not in found and "time" not in source.given and not source.layout:
        free = [name for name in source.names() if name.strip() and name not in found.values()]
        if column := _column_of_times(source, free):
            found = {**found, "time": column}
            by_values = True
    if given:
        if "time" not in found:
            raise UserError(f"{source.path}: --time_format without a time: name its --time_column")
        return found, given_format(given), by_values
    if "time" not in found:
        return found, None, False
    return found, TimeFormat() if source.layout else _format(source, found["time"]), by_values


def _column_of_times(source: "Source", names: Sequence[str]) -> str | None:
    """The column whose first values are times, the best named; None where there is none."""
    ranked = {name: moment_rank(name) for name in names}
    likely = [name for name in names if ranked[name] > 0]
    values = source.sample(likely) if likely else {}
    fitting = [name for name in likely if _are_times(values[name], ranked[name] > 1)]
    best = max((ranked[name] for name in fitting), default=0)
    fitting = [name for name in fitting if ranked[name] == best]
    if len(fitting) > 1:
        raise several_fit(source.path, "time", fitting)
    return fitting[0] if fitting else None


def _are_times(values: Sequence[object], is_named: bool) -> bool:
    """Whether nearly all values are dates, or numbers that are seconds since 1970 or a thousandth
    or less of them (or, in a column that is named so, a spreadsheet's days); and not all the
    same."""
    there = [value for value in values if value is not None and str(value).strip()]
    if 2 * len(there) < len(values) or len(set(map(str, there))) < min(2, len(there)):
        return False
    kinds = {_kind(value, is_named) for value in there}
    if kinds == {"text"}:
        return bool(fitting_formats(there))
    return bool(kinds) and kinds <= {"moment", "number"}


def _kind(value: object, is_named: bool) -> str:
    """ "moment", "number" of a plausible time, "text", or "" for what is no time."""
    if isinstance(value, datetime.date):
        return "moment"
    if isinstance(value, bool | list | dict):
        return ""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return "text"
    if any(_SECONDS[0] <= number / 1000**power < _SECONDS[1] for power in range(4)):
        return "number"
    is_day = is_named and _DAYS[0] <= number < _DAYS[1]
    return "number" if is_day or pattern_of_digits([value]) else ""


def _format(source: "Source", column: str) -> TimeFormat:
    forms = fitting_formats(source.sample([column])[column])
    if len(forms) > 1:
        forms = fitting_formats(source.sample([column], _MORE)[column])
    if len(forms) > 1:
        ways = " or ".join(f"--time_format '{form.pattern}'" for form in forms[:3])
        raise UserError(
            f"{source.path}: the dates of column {column!r} can be read in two ways: say {ways}"
        )
    return forms[0] if forms else TimeFormat()


if TYPE_CHECKING:
    from recalign.data.readers.sources import Source


@dataclasses.dataclass(frozen=True)
class Events:
    """The kinds of events that count, as the log has them; all where none is chosen."""

    chosen: frozenset[str] = frozenset()
    has_verb: bool = False  # prompts are given a verb for them; else they say "has purchased"

    def counts(self, line: int, event: object, tally: Tally) -> bool:
        """Whether a line counts; the tally learns of its kind, or that it is a bad line."""
        kind = "" if event is None else str(event).strip()
        if "\n" in kind:
            reason = "an event with a line break (is a quote missing before it?)"
            tally.reject(line, reason, kind, tally.taken)
            return False
        if kind in tally.events or kind in self.chosen or len(tally.events) <= _MOST_KINDS:
            tally.events[kind] = tally.events.get(kind, 0) + 1
        return not self.chosen or kind in self.chosen

    def check(self, tally: Tally) -> None:
        """Raises a UserError, with the kinds that there are, for one that no line is of."""
        if absent := self.chosen.difference(tally.events):
            raise UserError(
                f"{tally.path}: no event is {min(absent)!r} (--events): there are {_kinds(tally)}"
            )

    def notes(self, tally: Tally, column: str) -> list[str]:
        """What a person is told of the kinds."""
        notes = []
        counted = sorted(self.chosen or tally.events)
        if self.chosen:
            notes.append(f"events that count: {', '.join(counted)} (of {_kinds(tally)})")
        elif len(counted) > _MOST_KINDS:
            return []
        elif len(counted) > 1:
            flags = f"--event_column {column} --events KIND,…"
            notes.append(
                f"{WARNING}column {column!r} holds {len(tally.events)} kinds"
                f" ({_kinds(tally)}), all of which count: choose by {flags}"
            )
        others = [kind for kind in counted if kind and not _is_purchase(kind)]
        if others and not self.has_verb:
            notes.append(
                f"prompts say 'has purchased' of {', '.join(others[:10])}: what users did instead"
                " is said by --verb, as in --verb 'viewed,view'"
            )
        return notes


def _is_purchase(kind: str) -> bool:
    """
    >>> [_is_purchase(kind) for kind in ("order", "BuyNow", "order_cancelled", "border_shown")]
    [True, True, False, False]
    """
    if _NO_PURCHASE.search(kind.lower()):
        return False
    return any(_PURCHASE.fullmatch(word) for word in words(kind))


def _kinds(tally: Tally) -> str:
    """
    >>> _kinds(Tally("log.csv", events={"buy": 3, "view": 1200}))
    'view 1,200, buy 3'
    """
    by_count = sorted(tally.events.items(), key=lambda kind_and_count: -kind_and_count[1])
    return ", ".join(f"{kind or '(none)'} {count:,}" for kind, count in by_count[:10])


def find_events(
    source: "Source", found: dict[str, str], chosen: Sequence[str], has_verb: bool
) -> tuple[dict[str, str], Events]:
    """The columns with that of the events, where there is one, and which of them count."""
    events = Events(frozenset(chosen), has_verb)
    names = source.names()
    column = source.given.get(EVENT)
    if column is None and not source.layout:
        free = [name for name in names if name not in found.values()]
        column = next(iter(known_for(EVENT, free)), None)
    if column and column not in names:
        raise UserError(f"{source.path}: no column {column!r} (given as the event column)")
    if column:
        return {**found, EVENT: column}, events
    if chosen:
        raise UserError(f"{source.path}: --events without a column: name it with --event_column")
    return found, events
