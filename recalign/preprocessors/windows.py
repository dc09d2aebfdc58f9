"""From the number of a sample to its user and window, read from columnar arrays."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from recalign.data.prepared import PreparedDataset
from recalign.data.splits import samples_per_user
from recalign.preprocessors import fields
from recalign.preprocessors.preprocessor import Batch, Context, Epoch, preprocessor
from recalign.preprocessors.settings import TaskSettings

ABSENT = -1
"""Stands before the first item of a history that is shorter than the window."""


@dataclasses.dataclass(frozen=True)
class SplitColumns:
    """A split's sequences as tensors, one after the other."""

    items: tf.Tensor  # int32 [total]
    ratings: tf.Tensor | None  # float32 [total]; None where the log has none
    rows: tf.Tensor  # int64 [R], the users' numbers
    starts: tf.Tensor  # int64 [R], where each record's items begin
    lengths: tf.Tensor  # int64 [R], how many there are


@functools.lru_cache(64)
def split_columns(dataset: PreparedDataset, split: str) -> SplitColumns:
    """The columns of a split, read once."""
    sequences = dataset.sequences(split)
    ratings = sequences.ratings
    with tf.init_scope():
        return SplitColumns(
            items=tf.constant(sequences.items, tf.int32),
            ratings=None if ratings is None else tf.constant(ratings, tf.float32),
            rows=tf.constant(sequences.rows, tf.int64),
            starts=tf.constant(sequences.row_splits[:-1], tf.int64),
            lengths=tf.constant(np.diff(sequences.row_splits), tf.int64),
        )


_WINDOW = {
    "row": fields.ROW,
    "record": fields.NUMBER,
    "history": fields.window(),
    "history_place": fields.NUMBER,
}
_NEXT = {"target": fields.items(), "place": fields.NUMBER}

Bounds = Callable[[Batch, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]]
"""A batch, each sample's number in its record, the record's length -> the window's first item, the
one after its last, and the target, all as places in the record; None for no target; int64 [B]."""


def windows(context: Context, rule: str, width: int, bounds_of: Bounds) -> Epoch:
    """The samples of a split by number: first those of the first record, in time order.

    `rule` says how many a record has (`samples_per_user`), `bounds_of` where windows and targets
    are.
    """
    lengths = np.diff(context.dataset.sequences(context.split).row_splits)
    counts = samples_per_user(rule, lengths, context.split, context.settings.history_length)
    columns = split_columns(context.dataset, context.split)
    with tf.init_scope():
        ends = tf.constant(np.cumsum(counts), tf.int64)
        begins = tf.constant(np.cumsum(counts) - counts, tf.int64)

    def fields_of(batch: Batch) -> Batch:
        record_B = tf.searchsorted(ends, batch["sample"], side="right", out_type=tf.int64)
        number_B = batch["sample"] - tf.gather(begins, record_B)
        start_B = tf.gather(columns.starts, record_B)
        first_B, end_B, target_B = bounds_of(batch, number_B, tf.gather(columns.lengths, record_B))
        place_BxW = end_B[:, tf.newaxis] - width + tf.range(width, dtype=tf.int64)
        present_BxW = place_BxW >= tf.maximum(first_B, 0)[:, tf.newaxis]
        place_BxW = tf.where(present_BxW, place_BxW + start_B[:, tf.newaxis], 0)
        found = {
            "row": tf.gather(columns.rows, record_B),
            "record": record_B,
            "history": tf.where(present_BxW, tf.gather(columns.items, place_BxW), ABSENT),
            "history_place": place_BxW,
        }
        if target_B is None:
            return found
        place_B = start_B + target_B
        return found | {"target": tf.gather(columns.items, place_B), "place": place_B}

    return Epoch(int(counts.sum()), fields_of)


@preprocessor(makes=_WINDOW | _NEXT)
def next_item_windows(context: Context, every_prefix: bool = False) -> Epoch:
    """Every window of w items of a training part, and the item after it (section 4.1).

    With w = 2, the first user's training part [4, 7, 1, 9] gives

        {"sample": [0, 1]} -> {"history": [[4, 7], [7, 1]], "target": [1, 9], "row": [0, 0], …}

    A part of at most w + 1 items is one sample; a short history begins with -1. A user of a
    held-out split is a sample about the last item. With `every_prefix`, or
    `TaskSettings.every_prefix`, every item but a user's first is a target in training, as
    sequential recommenders have it: [4] -> 7, [4, 7] -> 1, [7, 1] -> 9.

    Makes `row` and `target` [B], `history` int32 [B, w]; `record`, `place` int64 [B] and
    `history_place` [B, w], where they stand in the split's columns.
    """
    width = context.settings.history_length
    every_prefix = every_prefix or context.settings.every_prefix

    def bounds_of(batch: Batch, number_B: tf.Tensor, length_B: tf.Tensor) -> tuple:
        if context.split != "train":
            end_B = length_B - 1
        elif every_prefix:
            end_B = number_B + 1
        else:
            end_B = tf.minimum(number_B + width, length_B - 1)
        return end_B - width, end_B, end_B

    return windows(context, "tiger" if every_prefix else "retrieval", width, bounds_of)


@preprocessor(makes=_WINDOW)
def item_windows(context: Context) -> Epoch:
    """Every window of w items of a training part (MIM, section 3.1.1).

    With w = 2, the training part [4, 7, 1] gives

        {"sample": [0, 1]} -> {"history": [[4, 7], [7, 1]], "row": [0, 0], …}

    Makes `row` [B], `history` int32 [B, w]; `record` and `history_place` as `next_item_windows`.
    """
    width = context.settings.history_length

    def bounds_of(batch: Batch, number_B: tf.Tensor, length_B: tf.Tensor) -> tuple:
        end_B = tf.minimum(number_B + width, length_B)
        return end_B - width, end_B, None

    return windows(context, "mim", width, bounds_of)


def _sub_sequence(settings: TaskSettings) -> int:
    return max(2, settings.history_length)


@preprocessor(makes=_WINDOW | {"history": fields.window(_sub_sequence)})
def sub_sequences(context: Context) -> Epoch:
    """A random sub-sequence of 2 to w items of a training part (MLM, section 3.1.2).

    With w = 3, the training part [4, 7, 1] gives one of [-1, 4, 7], [-1, 7, 1] and [4, 7, 1]:

        {"sample": [0], "position": [0]} -> {"history": [[-1, 7, 1]], "row": [0], …}

    Makes what `item_windows` makes.
    """
    width = _sub_sequence(context.settings)

    def bounds_of(batch: Batch, number_B: tf.Tensor, length_B: tf.Tensor) -> tuple:
        draws = context.draws(batch)
        size_B = 2 + draws.below("sub-sequence length", tf.minimum(length_B, width) - 1)
        first_B = draws.below("sub-sequence start", length_B - size_B + 1)
        return first_B, first_B + size_B, None

    return windows(context, "mlm", width, bounds_of)
