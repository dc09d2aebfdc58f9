"""Which of a user's items a split shows, and which of them is its target.

Leave one out: a user's last item is the test target, the last but one the validation target.
By time (temporal.py): the first item after each of two moments, for whoever has one.
And how many samples a task makes of that: the one place where the paper's Table 10 is counted.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float32, Int32, Int64

from recalign.errors import UserError

SPLITS = ("train", "validation", "test")
"""The splits, at the positions that the feature `split` of a record gives."""

HELD_OUT = {"train": 2, "validation": 1, "test": 0}
"""How many of a user's last items a split does not show."""

MINIMUM_LENGTH = 3
"""The shortest sequence that leaves something to train on, to validate and to test."""

VALIDATION_USERS = 3000
"""Validation asks a fixed sample of so many users (the paper, Appendix C.2)."""


class UserRow(NamedTuple):
    """One user's whole sequence: catalogue indices in time order, and what else the log has, None
    where it has none, aligned with them."""

    user: str
    items: list[int]
    ratings: list[float] | None = None
    review_texts: list[str] | None = None
    summaries: list[str] | None = None
    shown: tuple[int, ...] | None = None

    def shown_in(self, split: str) -> int:
        """How many of the items a split shows, the target among them."""
        if self.shown is not None:
            return self.shown[SPLITS.index(split)]
        return len(self.items) - HELD_OUT[split]


@dataclasses.dataclass(frozen=True)
class Sequences:
    """Every user's whole sequence, columnar, rows in the order of the prepared dataset."""

    users: list[str]  # raw ids
    items: Int32[np.ndarray, " total"]  # catalogue indices, row by row in time order
    ratings: Float32[np.ndarray, " total"] | None
    # Row r is items[row_splits[r]:row_splits[r + 1]].
    row_splits: Int64[np.ndarray, " rows_and_one"]
    review_texts: pa.LargeStringArray | None = None
    summaries: pa.LargeStringArray | None = None
    # Split -> how many of a row's items it shows, the target among them; 0 for a row that is not in
    # it. None where one is left out.
    by_time: Mapping[str, Int64[np.ndarray, " rows"]] | None = None

    def shown(self, split: str) -> Int64[np.ndarray, " rows"]:
        """How many of each row's items a split shows, the target among them."""
        if self.by_time is not None:
            return self.by_time[split]
        return self.lengths - HELD_OUT[split]

    @property
    def lengths(self) -> Int64[np.ndarray, " rows"]:
        """The number of items of each row."""
        return np.diff(self.row_splits)

    def number_of_pairs(self, number_of_items: int) -> int:
        """How many pairs of a user and an item there are: an item of a row counts once."""
        row = np.repeat(np.arange(len(self.lengths)), self.lengths)
        return len(np.unique(row * number_of_items + self.items))

    def row(self, number: int) -> UserRow:
        """One user's sequence."""
        start, end = self.row_splits[number : number + 2].tolist()
        columns = (self.items, self.ratings, self.review_texts, self.summaries)
        own: list[Any] = [None if it is None else it[start:end].tolist() for it in columns]
        row = UserRow(self.users[number], *own)
        if self.by_time is None:
            return row
        return row._replace(shown=tuple(int(self.by_time[split][number]) for split in SPLITS))


def split_rows(
    split: str, users: int, seed: int, shown: Int64[np.ndarray, " rows"] | None = None
) -> Int64[np.ndarray, " rows"]:
    """The rows that a split holds, ascending: all that it shows something of, or of validation's a
    sample, fixed by the seed."""
    rows = np.arange(users) if shown is None else np.flatnonzero(shown)
    if split != "validation" or len(rows) <= VALIDATION_USERS:
        return rows
    # RandomState's streams never change between numpy versions; a Generator's may.
    chooser = np.random.RandomState(np.random.MT19937(np.random.SeedSequence([seed, 1])))
    return np.sort(rows[chooser.permutation(len(rows))[:VALIDATION_USERS]])


def train_counts(sequences: Sequences, number_of_items: int) -> Int64[np.ndarray, " items"]:
    """How often each item occurs in the training parts: popularity that knows no held-out item."""
    return np.bincount(sequences.items[in_training(sequences)], minlength=number_of_items)


def in_training(sequences: Sequences) -> Bool[np.ndarray, " total"]:
    """Which interactions the training parts hold."""
    starts = np.repeat(sequences.row_splits[:-1], sequences.lengths)
    place = np.arange(len(sequences.items)) - starts
    return place < np.repeat(sequences.shown("train"), sequences.lengths)


_NEXT_ITEM = ("retrieval", "ranking", "rating", "bpr", "p5_sequential")
_EVALUATED = ("retrieval", "ranking", "rating", "p5_sequential", "p5_direct", "p5_rating", "tiger")
_Samples = Callable[[np.ndarray, int], np.ndarray]


def _every_prefix(length: np.ndarray, _: int) -> np.ndarray:
    return np.maximum(0, length - 1)


_TRAINING: Mapping[str, _Samples] = {
    # Every window of w items with the item after it; all of the part where M <= w + 1.
    **dict.fromkeys(
        _NEXT_ITEM, lambda length, w: np.where(length < 2, 0, np.maximum(1, length - w))
    ),
    "tiger": _every_prefix,
    # Every window of w items; a sub-sequence of mlm has at least two.
    "mim": lambda length, w: np.where(length < 1, 0, np.maximum(1, length - w + 1)),
    "mlm": lambda length, w: np.where(length < 2, 0, np.maximum(1, length - w + 1)),
    "p5_direct": lambda length, w: np.minimum(length, 1),
    "p5_rating": lambda length, w: length,
}
"""Task -> training samples by the lengths of the training part, M, and of a history, w."""


def samples_per_user(
    task: str,
    lengths: Int64[np.ndarray, " rows"],
    split: str,
    history_length: int,
    every_prefix: bool = False,
) -> Int64[np.ndarray, " rows"]:
    """The number of samples of each user: in training those of `_TRAINING`, in validation and test
    one of each recommendation task and none of the others.

    Args:
        task: a key of `_TRAINING`.
        lengths: the number of `items` in each record of the split (train: the training part;
            validation and test: history and target).
        split: one of `SPLITS`.
        history_length: at least 1.
        every_prefix: whether the tasks of the next item predict every item but a user's first, as
            sequential recommenders do.

    Raises:
        KeyError: an unknown task or split.
    """
    lengths = np.asarray(lengths, np.int64)
    if history_length < 1:
        raise UserError(f"history_length {history_length}: a history has at least 1 item")
    rule = _TRAINING[task]
    if split in ("validation", "test"):
        return np.full(len(lengths), int(task in _EVALUATED), np.int64)
    if split != "train":
        raise KeyError(split)
    if every_prefix and task in _NEXT_ITEM:
        rule = _every_prefix
    return rule(lengths, history_length)
