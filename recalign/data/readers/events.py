"""What happened in a line of the log: a view, a purchase; and which of it counts."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from recalign.data.readers.columns import EVENT, known_for
from recalign.data.readers.tally import WARNING, Tally
from recalign.errors import UserError

if TYPE_CHECKING:
    from recalign.data.readers.sources import Source

_MOST_KINDS = 50
"""A column of more kinds is not one of events."""


@dataclasses.dataclass(frozen=True)
class Events:
    """The kinds of events that count; all where `chosen` is empty.

    Attributes:
        chosen: as the log has them.
    """

    chosen: frozenset[str] = frozenset()

    def counts(self, event: object, tally: Tally) -> bool:
        """Whether a line counts; the tally learns of its kind."""
        kind = "" if event is None else str(event).strip()
        if kind in tally.events or kind in self.chosen or len(tally.events) <= _MOST_KINDS:
            tally.events[kind] = tally.events.get(kind, 0) + 1
        return not self.chosen or kind in self.chosen

    def check(self, tally: Tally) -> None:
        """Refuses a kind that no line is of.

        Raises:
            UserError: naming the kinds that there are.
        """
        if absent := self.chosen.difference(tally.events):
            raise UserError(
                f"{tally.path}: no event is {min(absent)!r} (--events): there are {_kinds(tally)}"
            )

    def notes(self, tally: Tally, column: str) -> list[str]:
        """What a person is told of the kinds."""
        if self.chosen:
            return [f"events that count: {', '.join(sorted(self.chosen))} (of {_kinds(tally)})"]
        if 1 < len(tally.events) <= _MOST_KINDS:
            flags = f"--event_column {column} --events KIND,…"
            return [
                f"{WARNING}column {column!r} holds {len(tally.events)} kinds"
                f" ({_kinds(tally)}), all of which count: choose by {flags}"
            ]
        return []


def _kinds(tally: Tally) -> str:
    """
    >>> _kinds(Tally("log.csv", events={"buy": 3, "view": 1200}))
    'view 1,200, buy 3'
    """
    by_count = sorted(tally.events.items(), key=lambda kind_and_count: -kind_and_count[1])
    return ", ".join(f"{kind or '(none)'} {count:,}" for kind, count in by_count[:10])


def find_events(
    source: "Source", found: dict[str, str], chosen: Sequence[str]
) -> tuple[dict[str, str], Events]:
    """The columns with that of the events, where there is one, and which of them count.

    Raises:
        UserError: kinds asked for without a column.
    """
    events = Events(frozenset(chosen))
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
