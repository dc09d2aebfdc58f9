"""Leave one out: a user's last item is the test target, the last but one the validation target."""

import dataclasses
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

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


@dataclasses.dataclass(frozen=True)
class Sequences:
    """Every user's whole sequence, columnar, rows in the order of the prepared dataset.

    Attributes:
        users: U raw ids.
        items: int32 [total], catalogue indices, row by row in time order.
        ratings: float32 [total] or None.
        row_splits: int64 [U + 1]; row r is items[row_splits[r]:row_splits[r + 1]].
        review_texts, summaries: large_string [total] or None, both together.
    """

    users: list[str]
    items: np.ndarray
    ratings: np.ndarray | None
    row_splits: Int64[np.ndarray, " rows_and_one"]
    review_texts: pa.LargeStringArray | None = None
    summaries: pa.LargeStringArray | None = None

    @property
    def lengths(self) -> Int64[np.ndarray, " rows"]:
        """The number of items of each row."""
        return np.diff(self.row_splits)

    def row(self, number: int) -> UserRow:
        """One user's sequence."""
        start, end = self.row_splits[number : number + 2].tolist()
        texts = [
            None if column is None else column[start:end].to_pylist()
            for column in (self.review_texts, self.summaries)
        ]
        return UserRow(
            self.users[number],
            self.items[start:end].tolist(),
            None if self.ratings is None else self.ratings[start:end].tolist(),
            *texts,
        )


def split_rows(split: str, users: int, seed: int) -> Int64[np.ndarray, " rows"]:
    """The rows that a split holds, ascending: all, or validation's sample, fixed by the seed."""
    if split != "validation" or users <= VALIDATION_USERS:
        return np.arange(users)
    # RandomState's streams never change between numpy versions; a Generator's may.
    chooser = np.random.RandomState(np.random.MT19937(np.random.SeedSequence([seed, 1])))
    return np.sort(chooser.permutation(users)[:VALIDATION_USERS])


def train_counts(sequences: Sequences, number_of_items: int) -> Int64[np.ndarray, " items"]:
    """How often each item occurs in the training parts: popularity that knows no held-out item."""
    in_training = np.ones(len(sequences.items), bool)
    ends = sequences.row_splits[1:]
    for back in range(1, HELD_OUT["train"] + 1):
        in_training[ends - back] = False
    return np.bincount(sequences.items[in_training], minlength=number_of_items)
