"""One user's part of the log: the record that goes from pipeline to pipeline."""

import itertools
import json
from collections.abc import Iterable, Sequence, Set
from typing import Any, NamedTuple

# Lines may hold several interactions (--format sequences), 2^25 of them at most: a line is no
# longer than 64 MiB. Then 2^38 lines fit into a signed 64-bit position.
PLACE_BITS = 25


class Interaction(NamedTuple):
    """One good interaction; 0 or "" for what the log has no column for.

    `position` orders the log: the number of the line, and the place in it in the lowest bits.
    """

    position: int
    item: str
    time: float
    rating: float
    review_text: str
    summary: str


class UserLog(NamedTuple):
    """A user's interactions in time order, an item once unless repeats are kept.

    Attributes:
        first: the position of the user's first interaction in the log: the order of users.
        user: raw id.
        items: raw ids.
        times: 0 where the log has none.
        ratings, review_texts, summaries: aligned with `items`.
    """

    first: int
    user: str
    items: Sequence[str]
    times: Sequence[float]
    ratings: Sequence[float]
    review_texts: Sequence[str]
    summaries: Sequence[str]

    @property
    def distinct(self) -> int:
        return len(set(self.items))

    def to_json(self) -> str:
        return json.dumps(self, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> "UserLog":
        """What `to_json` gave."""
        return cls(*json.loads(line))

    def without(self, items: Set[str]) -> "UserLog":
        """The log without some items."""
        keep = [item not in items for item in self.items]
        if all(keep):
            return self
        first, user, *columns = self
        kept: list[Any] = [list(itertools.compress(column, keep)) for column in columns]
        return UserLog(first, user, *kept)


def user_log(grouped: tuple[str, Iterable[tuple]], keep_repeats: bool, has_time: bool) -> UserLog:
    """Time order with ties in file order; of repeats of an item the earliest stays, or with
    `keep_repeats` the earliest of each moment."""
    user, interactions = grouped
    in_file_order = sorted(map(Interaction._make, interactions), key=lambda it: it.position)
    first = in_file_order[0].position
    seen: set[object] = set()
    kept: list[Interaction] = []
    for interaction in sorted(in_file_order, key=lambda it: it.time):
        same: object = interaction.item
        if keep_repeats:
            same = (interaction.item, interaction.time if has_time else interaction.position)
        if same not in seen:
            seen.add(same)
            kept.append(interaction)
    _, *columns = map(list, zip(*kept, strict=True))
    return UserLog(first, user, *columns)
