"""What happened in a line of the log: a view, a purchase; and which of it counts."""

import dataclasses
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from recalign.data.readers.columns import EVENT, known_for, words
from recalign.data.readers.tally import WARNING, Tally
from recalign.errors import UserError

if TYPE_CHECKING:
    from recalign.data.readers.sources import Source

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


@dataclasses.dataclass(frozen=True)
class Events:
    """The kinds of events that count; all where `chosen` is empty.

    Attributes:
        chosen: as the log has them.
        has_verb: whether prompts are given a verb for them; else they say "has purchased".
    """

    chosen: frozenset[str] = frozenset()
    has_verb: bool = False

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
    """The columns with that of the events, where there is one, and which of them count.

    Raises:
        UserError: kinds asked for without a column.
    """
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
