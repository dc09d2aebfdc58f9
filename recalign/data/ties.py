"""Ties in time: where the order of the file decides which item is the answer."""

import dataclasses

from recalign.data.readers.tally import WARNING

_MANY = 0.1
"""The share of users whose last two items are tied from which a person is warned."""

SORTED = 0.9
"""The share of tied pairs in ascending (or descending) order of their IDs that tells a sorted file;
half would be by chance."""

_ENOUGH = 20
"""Tied pairs; of fewer none tells an order."""


@dataclasses.dataclass(frozen=True)
class Ties:
    """Users whose last two items share a timestamp.

    Attributes:
        users: how many.
        ascending: in how many of their pairs the smaller raw ID comes first.
    """

    users: int
    ascending: int

    @property
    def is_sorted(self) -> bool:
        """Whether the file puts tied items in the order of their IDs."""
        most = max(self.ascending, self.users - self.ascending)
        return self.users >= _ENOUGH and most >= SORTED * self.users

    def note(self, users: int) -> str | None:
        """What a person is told; None where ties are few."""
        share = self.users / users
        if share < _MANY:
            return None
        order = ", which sorts them by item," if self.is_sorted else ""
        return (
            f"{WARNING}the last two items of {100 * share:.1f} % of the users have one timestamp,"
            f" so that the order of the file{order} chooses the test item: give a finer time"
            " column, or lines in the order of what happened"
        )


def comes_first(one: str, two: str) -> bool:
    """Whether an ID is before another: by number where both are numbers, else as text.

    >>> comes_first("9", "10"), comes_first("B9", "B10")
    (True, False)
    """
    if one.isdecimal() and two.isdecimal():
        return int(one) < int(two)
    return one < two
