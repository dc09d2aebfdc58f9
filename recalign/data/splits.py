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
from jaxtyping import Bool, Int64

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
    """Every user's whole sequence, columnar, rows in the order of the prepared dataset.

    Attributes:
        users: U raw ids.
        items: int32 [total], catalogue indices, row by row in time order.
        ratings: float32 [total] or None.
        row_splits: int64 [U + 1]; row r is items[row_splits[r]:row_splits[r + 1]].
        review_texts, summaries: large_string [total] or None, both together.
        by_time: split -> int64 [U], how many of a row's items it shows, the target among them; 0
            for a row that is not in it. None where one is left out.
    """

    users: list[str]
    items: np.ndarray
    ratings: np.ndarray | None
    row_splits: Int64[np.ndarray, " rows_and_one"]
    review_texts: pa.LargeStringArray | None = None
    summaries: pa.LargeStringArray | None = None
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
    **dict.fromkeys(
        _NEXT_ITEM, lambda length, w: np.where(length < 2, 0, np.maximum(1, length - w))
    ),
    **dict.fromkeys(("tiger", "after"), _every_prefix),
    "together": lambda length, w: np.where(length < 2, 0, length),
    "mim": lambda length, w: np.where(length < 1, 0, np.maximum(1, length - w + 1)),
    "mlm": lambda length, w: np.where(length < 2, 0, np.maximum(1, length - w + 1)),
    "p5_direct": lambda length, w: np.minimum(length, 1),
    "p5_rating": lambda length, w: length,
}
"""Task -> training samples by the length of the training part and of a history."""


def samples_per_user(
    task: str,
    lengths: Int64[np.ndarray, " rows"],
    split: str,
    history_length: int,
    every_prefix: bool = False,
) -> Int64[np.ndarray, " rows"]:
    """The number of samples of each user.

    In training, over a training part of M items and a history length of w:

    - retrieval, ranking, rating, bpr: every window of w items with the item after it, so
      max(1, M - w); the whole part is the one sample where M <= w + 1; 0 where M < 2.
    - mim: every window of w items, so max(1, M - w + 1); 0 where M < 1.
    - p5_sequential: as retrieval; p5_direct: 1; p5_rating: M.
    - tiger, and with `every_prefix` all of retrieval, ranking, rating, bpr and p5_sequential: every
      item but the first, so max(0, M - 1), as sequential recommenders have it.
    - after: every item but the last, so max(0, M - 1); together: M, but 0 where M < 2.
    - mlm: as many as mim, but 0 where M < 2: a sub-sequence has at least two items.

    In validation and test: one of each recommendation task, none of the others.

    Args:
        task: one of the tasks named above.
        lengths: int64 [R], the number of `items` in each record of the split (train: the training
            part; validation and test: history and target).
        split: "train", "validation" or "test".
        history_length: w, at least 1.
        every_prefix: whether every item but a user's first is predicted from those before it.

    Raises:
        UserError: a history length below 1.
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
