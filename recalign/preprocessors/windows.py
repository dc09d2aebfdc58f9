"""From the number of a sample to its user and window, read from columnar arrays."""

import dataclasses

import numpy as np
import tensorflow as tf

from recalign.data.prepared import PreparedDataset, UserSequences
from recalign.data.samples import NEXT_ITEM_TASKS, has_every_prefix, samples_per_user
from recalign.preprocessors.draws import Draws
from recalign.preprocessors.memo import once_per_dataset

ABSENT = -1
"""Stands before the first item of a history that is shorter than the window."""


@dataclasses.dataclass(frozen=True)
class Windows:
    """A batch of windows.

    Attributes:
        record_B: int64 [B], position in the split's `UserSequences`.
        row_B: int64 [B], the user's number in the dataset.
        history_BxW: int32 [B, w], oldest first, the most recent in the last column; `ABSENT` in the
            first columns of a short history.
        target_B: int32 [B], the next item; None for the tasks about the window's own items.
        history_rating_BxW: float32 [B, w]; None where the log has no ratings.
        target_rating_B: float32 [B]; None where the log has no ratings or there is no target.
        place_B: int64 [B], the place of the next item in the split's columns; None as `target_B`.
    """

    record_B: tf.Tensor
    row_B: tf.Tensor
    history_BxW: tf.Tensor
    target_B: tf.Tensor | None
    history_rating_BxW: tf.Tensor | None
    target_rating_B: tf.Tensor | None
    place_B: tf.Tensor | None = None

    @property
    def next_item_B(self) -> tf.Tensor:
        """`target_B` of a task that has one."""
        assert self.target_B is not None
        return self.target_B

    @property
    def present_BxW(self) -> tf.Tensor:
        """bool [B, w], False where the history is `ABSENT`."""
        return tf.not_equal(self.history_BxW, ABSENT)


@dataclasses.dataclass(frozen=True)
class SplitColumns:
    """A split's sequences as tensors, one after the other.

    Attributes:
        items: int32 [total].
        ratings: float32 [total]; None where the log has none.
        rows: int64 [R], the users' numbers.
        starts: int64 [R], where each record's items begin.
        lengths: int64 [R], how many there are.
    """

    items: tf.Tensor
    ratings: tf.Tensor | None
    rows: tf.Tensor
    starts: tf.Tensor
    lengths: tf.Tensor


@once_per_dataset
def split_columns(dataset: PreparedDataset, split: str) -> SplitColumns:
    """The columns of a split, read once."""
    sequences: UserSequences = dataset.sequences(split)
    with tf.init_scope():
        return SplitColumns(
            items=tf.constant(sequences.items, tf.int32),
            ratings=None
            if sequences.ratings is None
            else tf.constant(sequences.ratings, tf.float32),
            rows=tf.constant(sequences.rows, tf.int64),
            starts=tf.constant(sequences.row_splits[:-1], tf.int64),
            lengths=tf.constant(np.diff(sequences.row_splits), tf.int64),
        )


class WindowLookup:
    """The windows of a task and split, addressed by the sample's number, 0 … len - 1.

    Samples are in the order of the records, and within a record in time order.
    """

    def __init__(
        self,
        task: str,
        dataset: PreparedDataset,
        split: str,
        history_length: int,
        every_prefix: bool = False,
    ):
        sequences = dataset.sequences(split)
        lengths = np.diff(sequences.row_splits)
        counts = samples_per_user(task, lengths, split, history_length, every_prefix)
        self._has_every_prefix = has_every_prefix(task, every_prefix)
        self._task = task
        self._split = split
        self._history_length = history_length
        self._columns = split_columns(dataset, split)
        with tf.init_scope():
            self._ends = tf.constant(np.cumsum(counts), tf.int64)
            self._begins = tf.constant(np.cumsum(counts) - counts, tf.int64)
        self._size = int(counts.sum())

    def __len__(self) -> int:
        """The number of samples."""
        return self._size

    def __call__(self, sample_B: tf.Tensor, draws: Draws) -> Windows:
        """The windows of the samples with these numbers, int64 [B].

        With w = 2 and the first user's training part [4, 7, 1, 9], sample 0 of `retrieval` is the
        history [4, 7] with target 1, sample 1 is [7, 1] with 9; sample 0 of `mim` is [4, 7], and
        sample 0 of `tiger` is [4] with 7, as that of `retrieval` is with every prefix.
        """
        record_B = tf.searchsorted(self._ends, sample_B, side="right", out_type=tf.int64)
        number_B = sample_B - tf.gather(self._begins, record_B)
        length_B = tf.gather(self._columns.lengths, record_B)
        if self._task in NEXT_ITEM_TASKS:
            if self._split == "train" and self._has_every_prefix:
                end_B = number_B + 1
            elif self._split == "train":
                end_B = tf.minimum(number_B + self._history_length, length_B - 1)
            else:
                end_B = length_B - 1
            first_B = end_B - self._history_length
        elif self._task == "mlm":
            first_B, end_B = self._sub_sequence(length_B, draws)
        else:
            end_B = tf.minimum(number_B + self._history_length, length_B)
            first_B = end_B - self._history_length
        return self._window(record_B, first_B, end_B)

    def _sub_sequence(self, length_B: tf.Tensor, draws: Draws) -> tuple[tf.Tensor, tf.Tensor]:
        """A random sub-sequence of 2 … w items: its first item, and the one after its last."""
        longest_B = tf.minimum(length_B, max(2, self._history_length))
        size_B = 2 + draws.below("sub-sequence length", longest_B - 1)
        first_B = draws.below("sub-sequence start", length_B - size_B + 1)
        return first_B, first_B + size_B

    def _window(self, record_B: tf.Tensor, first_B: tf.Tensor, end_B: tf.Tensor) -> Windows:
        columns = self._columns
        start_B = tf.gather(columns.starts, record_B)
        width = max(2, self._history_length) if self._task == "mlm" else self._history_length
        place_BxW = end_B[:, tf.newaxis] - width + tf.range(width, dtype=tf.int64)
        present_BxW = place_BxW >= tf.maximum(first_B, 0)[:, tf.newaxis]
        flat_BxW = tf.where(present_BxW, place_BxW + start_B[:, tf.newaxis], 0)
        history_BxW = tf.where(present_BxW, tf.gather(columns.items, flat_BxW), ABSENT)
        has_target = self._task in NEXT_ITEM_TASKS
        rated = columns.ratings is not None
        return Windows(
            record_B=record_B,
            row_B=tf.gather(columns.rows, record_B),
            history_BxW=history_BxW,
            target_B=tf.gather(columns.items, start_B + end_B) if has_target else None,
            history_rating_BxW=tf.gather(columns.ratings, flat_BxW) if rated else None,
            target_rating_B=tf.gather(columns.ratings, start_B + end_B)
            if rated and has_target
            else None,
            place_B=start_B + end_B if has_target else None,
        )
