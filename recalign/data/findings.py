"""What a preparation finds out about a log: its ratings, what counts as a like, ties in time."""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float32, Int64

from recalign.data.readers.tally import WARNING
from recalign.data.temporal import Cuts

LIKE_THRESHOLD = 3.0
"""A rating above it is a like (the paper, section 3.1.1), on a scale from 1 to 5."""

_HALF = 0.5
"""The threshold of ratings that are 0 or 1."""

_SCALE = 5.0
"""The end of the scale that the threshold is of."""

_MANY_ZEROS = 0.01

_MANY_TIED = 0.1
"""The share of users whose last two items are tied from which a person is warned."""

_SORTED = 0.9
"""The share of tied pairs in ascending (or descending) order of their IDs that tells a sorted file;
half would be by chance."""

_ENOUGH_TIED = 20
"""Tied pairs; of fewer none tells an order."""


@dataclasses.dataclass(frozen=True)
class RatingSummary:
    """The ratings of what was kept of a log."""

    number: int
    minimum: float
    maximum: float
    zeros: int  # ratings of 0
    likes: int  # ratings above the threshold
    whole: bool  # all are whole numbers
    threshold: float  # the rating above which an item is liked

    @property
    def is_usable(self) -> bool:
        """Whether the ratings say anything: they are not all the same."""
        return self.minimum < self.maximum

    def notes(self) -> list[str]:
        """What a person is told."""
        if not self.is_usable:
            return [f"{WARNING}every rating is {self.minimum:g}: there are no rating tasks"]
        likes = self.likes / self.number
        notes = [
            f"ratings from {self.minimum:g} to {self.maximum:g}:"
            f" {100 * likes:.1f} % are likes (above {self.threshold:g}; --like_threshold)"
        ]
        if self.likes in (0, self.number):
            which = "none" if not self.likes else "every one"
            notes.append(
                f"{WARNING}{which} of the ratings is above {self.threshold:g}: a rating task has"
                " one answer: give another --like_threshold"
            )
        elif self.threshold == LIKE_THRESHOLD and self.maximum > _SCALE:
            notes.append(
                f"{WARNING}the threshold of {self.threshold:g} is of a scale from 1 to 5, and these"
                f" ratings go to {self.maximum:g}: give a --like_threshold"
            )
        is_binary = self.whole and self.maximum == 1
        if self.minimum == 0 and not is_binary:
            share = self.zeros / self.number
            notes.append(
                f"{WARNING if share >= _MANY_ZEROS else ''}{100 * share:.1f} % of the ratings are 0"
                f" ({self.zeros:,}), which makes dislikes of them: if 0 stands for no rating, give"
                " --no_rating 0"
            )
        return notes


Counts = tuple[int, float, float, int, int, int, int]
"""Of some ratings: number, minimum, maximum, zeros, whole ones, those above 0.5 and those above the
threshold; to be added up."""

NO_COUNTS: Counts = (0, math.inf, -math.inf, 0, 0, 0, 0)


def count_ratings(ratings: Float32[np.ndarray, " n"], threshold: float | None) -> Counts:
    """The counts of ratings."""
    return (
        len(ratings),
        float(ratings.min(initial=np.inf)),
        float(ratings.max(initial=-np.inf)),
        int((ratings == 0).sum()),
        int((ratings == np.floor(ratings)).sum()),
        int((ratings > _HALF).sum()),
        int((ratings > (LIKE_THRESHOLD if threshold is None else threshold)).sum()),
    )


def add_counts(parts: Iterable[Counts]) -> Counts:
    """The counts of all parts together."""
    number, minimum, maximum, *others = zip(NO_COUNTS, *parts, strict=True)
    return (sum(number), min(minimum), max(maximum), *map(sum, others))  # type: ignore[return-value]


def summary_of_counts(counts: Counts, threshold: float | None) -> RatingSummary:
    """What the counts say.

    The threshold is the one that is given, 0.5 where all ratings are 0 or 1, else the paper's.
    """
    number, minimum, maximum, zeros, whole, above_half, above = counts
    is_binary = number == whole and minimum == 0 and maximum == 1
    if threshold is None:
        threshold, above = (_HALF, above_half) if is_binary else (LIKE_THRESHOLD, above)
    return RatingSummary(number, minimum, maximum, zeros, above, number == whole, threshold)


def rating_summary(
    ratings: Float32[np.ndarray, " n"] | None, threshold: float | None
) -> RatingSummary | None:
    """The summary of ratings; None for a log without."""
    return (
        None if ratings is None else summary_of_counts(count_ratings(ratings, threshold), threshold)
    )


@dataclasses.dataclass(frozen=True)
class Ties:
    """Users whose last two items share a timestamp."""

    users: int
    ascending: int  # in how many of their pairs the smaller raw ID comes first

    @property
    def is_sorted(self) -> bool:
        """Whether the file puts tied items in the order of their IDs."""
        most = max(self.ascending, self.users - self.ascending)
        return self.users >= _ENOUGH_TIED and most >= _SORTED * self.users

    def note(self, users: int) -> str | None:
        """What a person is told; None where ties are few."""
        share = self.users / users
        if share < _MANY_TIED:
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


@dataclasses.dataclass(frozen=True)
class Findings:
    """What the preparation found out about the sequences; None for what the log has no times or no
    ratings for."""

    has_reviews: bool
    pairs: int  # of a user and an item of theirs; fewer than interactions where repeats are kept
    users_of_length: Int64[np.ndarray, " lengths"]  # how many users have a sequence so long
    ties: Ties | None
    ratings: RatingSummary | None
    cuts: Cuts | None  # the moments of a split by time
    trained_later: float | None  # share of test items in others' training after the test moment
    notes: Sequence[str]  # what was dropped or guessed, a line each

    @property
    def has_ratings(self) -> bool:
        """Whether the records hold ratings: those of a log that are not all the same."""
        return self.ratings is not None and self.ratings.is_usable
