"""From the number of a sample to its user and window, read from columnar arrays."""

import dataclasses

import numpy as np
import tensorflow as tf

from recalign.data.prepared import PreparedDataset, UserSequences
from recalign.data.samples import samples_per_user
from recalign.preprocessors import fields
from recalign.preprocessors.memo import once_per_dataset
from recalign.preprocessors.preprocessor import Batch, Context, preprocessor
from recalign.preprocessors.settings import TaskSettings

ABSENT = -1
"""Stands before the first item of a history that is shorter than the window."""

SPLIT_NUMBERS = {"train": 0, "validation": 1, "test": 2}


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


_EXAMPLE = {"row": fields.ROW, "record": fields.NUMBER, "history": fields.window()}
_PLACES = {"history_place": fields.NUMBER}
_NEXT = {"target": fields.items(), "place": fields.NUMBER}


class _Windows:
    """The samples of a split by number: first those of the first record, in time order."""

    def __init__(self, context: Context, rule: str, width: int):
        sequences = context.dataset.sequences(context.split)
        counts = samples_per_user(
            rule,
            np.diff(sequences.row_splits),
            context.split,
            context.settings.history_length,
        )
        self._width = width
        self._size = int(counts.sum())
        self.columns = split_columns(context.dataset, context.split)
        with tf.init_scope():
            self._ends = tf.constant(np.cumsum(counts), tf.int64)
            self._begins = tf.constant(np.cumsum(counts) - counts, tf.int64)

    def __len__(self) -> int:
        """The number of samples of an epoch."""
        return self._size

    def sample(self, sample_B: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """int64 [B] each: the record, the number of the sample in it, the record's length."""
        record_B = tf.searchsorted(self._ends, sample_B, side="right", out_type=tf.int64)
        number_B = sample_B - tf.gather(self._begins, record_B)
        return record_B, number_B, tf.gather(self.columns.lengths, record_B)

    def window(self, record_B: tf.Tensor, first_B: tf.Tensor, end_B: tf.Tensor) -> Batch:
        """The fields of windows from the record's item `first` to the one before `end`."""
        start_Bx1 = tf.gather(self.columns.starts, record_B)[:, tf.newaxis]
        place_BxW = end_B[:, tf.newaxis] - self._width + tf.range(self._width, dtype=tf.int64)
        present_BxW = place_BxW >= tf.maximum(first_B, 0)[:, tf.newaxis]
        place_BxW = tf.where(present_BxW, place_BxW + start_Bx1, 0)
        return {
            "row": tf.gather(self.columns.rows, record_B),
            "record": record_B,
            "history": tf.where(present_BxW, tf.gather(self.columns.items, place_BxW), ABSENT),
            "history_place": place_BxW,
        }


class _NextItem(_Windows):
    def __init__(self, context: Context, every_prefix: bool):
        self._width = context.settings.history_length
        super().__init__(context, "tiger" if every_prefix else "retrieval", self._width)
        self._is_train = context.split == "train"
        self._every_prefix = every_prefix

    def __call__(self, batch: Batch) -> Batch:
        record_B, number_B, length_B = self.sample(batch["sample"])
        if not self._is_train:
            end_B = length_B - 1
        elif self._every_prefix:
            end_B = number_B + 1
        else:
            end_B = tf.minimum(number_B + self._width, length_B - 1)
        place_B = tf.gather(self.columns.starts, record_B) + end_B
        return {
            **batch,
            **self.window(record_B, end_B - self._width, end_B),
            "target": tf.gather(self.columns.items, place_B),
            "place": place_B,
        }


@preprocessor(makes=_EXAMPLE | _PLACES | _NEXT)
def next_item_windows(context: Context, every_prefix: bool = False) -> _NextItem:
    """Every window of w items of a training part, and the item after it (section 4.1).

    With w = 2, the first user's training part [4, 7, 1, 9] gives

        {"sample": [0, 1]} -> {"history": [[4, 7], [7, 1]], "target": [1, 9], "row": [0, 0], …}

    A part of at most w + 1 items is one sample; a short history begins with -1. A user of a
    held-out split is a sample about the last item.

    Args:
        context: what it is bound to.
        every_prefix: in training every item but a user's first is a target, as sequential
            recommenders have it: [4] -> 7, [4, 7] -> 1, [7, 1] -> 9. So it is, too, where
            `TaskSettings.every_prefix` says it.

    Makes `row` and `target` [B], `history` int32 [B, w]; `record`, `place` int64 [B] and
    `history_place` [B, w], where they stand in the split's columns.
    """
    return _NextItem(context, every_prefix or context.settings.every_prefix)


class _Items(_Windows):
    def __init__(self, context: Context):
        self._width = context.settings.history_length
        super().__init__(context, "mim", self._width)

    def __call__(self, batch: Batch) -> Batch:
        record_B, number_B, length_B = self.sample(batch["sample"])
        end_B = tf.minimum(number_B + self._width, length_B)
        return batch | self.window(record_B, end_B - self._width, end_B)


@preprocessor(makes=_EXAMPLE | _PLACES)
def item_windows(context: Context) -> _Items:
    """Every window of w items of a training part (MIM, section 3.1.1).

    With w = 2, the training part [4, 7, 1] gives

        {"sample": [0, 1]} -> {"history": [[4, 7], [7, 1]], "row": [0, 0], …}

    Makes `row` [B], `history` int32 [B, w]; `record` and `history_place` as `next_item_windows`.
    """
    return _Items(context)


class _Nearby(_Windows):
    def __init__(self, context: Context, span: int, both_ways: bool):
        super().__init__(context, "together" if both_ways else "after", 1)
        self._span, self._both_ways, self._draws = span, both_ways, context.draws
        self._sums = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, span + 1))])

    def __call__(self, batch: Batch) -> Batch:
        record_B, number_B, length_B = self.sample(batch["sample"])
        later_B = self._sum(length_B - 1 - number_B)
        earlier_B = self._sum(number_B) if self._both_ways else tf.zeros_like(later_B)
        drawn_B = self._draws(batch).uniform("distance", 1)[:, 0] * (later_B + earlier_B)
        is_later_B = drawn_B < later_B
        distance_B = self._distance(tf.where(is_later_B, drawn_B, drawn_B - later_B))
        start_B = tf.gather(self.columns.starts, record_B)
        place_B = start_B + number_B + tf.where(is_later_B, distance_B, -distance_B)
        return {
            **batch,
            **self.window(record_B, number_B, number_B + 1),
            "target": tf.gather(self.columns.items, place_B),
            "place": place_B,
        }

    def _sum(self, count_B: tf.Tensor) -> tf.Tensor:
        """The sum of 1 / distance over `count` neighbours, at most `span` of them."""
        return tf.gather(self._sums, tf.minimum(count_B, self._span))

    def _distance(self, drawn_B: tf.Tensor) -> tf.Tensor:
        """int64 [B] from 1: the first whose sum is above what was drawn."""
        return tf.searchsorted(self._sums[1:], drawn_B, side="right", out_type=tf.int64) + 1


@preprocessor(makes=_EXAMPLE | _PLACES | _NEXT | {"history": fields.window(lambda settings: 1)})
def nearby_items(context: Context, span: int = 3, both_ways: bool = False) -> _Nearby:
    """An item of a training part, and one that the same user bought soon after it.

    The training part [4, 7, 1] gives 4 with 7 (two times in three) or 1, and 7 with 1:

        {"sample": [0, 1], "position": [0, 1]} ->
        {"history": [[4], [7]], "target": [7, 1], "row": [0, 0], …}

    Another item at distance d is drawn with a chance in proportion to 1 / d: a user's weights of
    the transition graph's edges (`baselines/graph.py`).

    Args:
        context: what it is bound to.
        span: the greatest distance.
        both_ways: whether items that were bought before count too: then every item is a sample.

    Makes what `next_item_windows` makes, with a history of one item.
    """
    return _Nearby(context, span, both_ways)


class _SubSequences(_Windows):
    def __init__(self, context: Context):
        self._longest = _sub_sequence(context.settings)
        self._draws = context.draws
        super().__init__(context, "mlm", self._longest)

    def __call__(self, batch: Batch) -> Batch:
        record_B, _, length_B = self.sample(batch["sample"])
        draws = self._draws(batch)
        longest_B = tf.minimum(length_B, self._longest)
        size_B = 2 + draws.below("sub-sequence length", longest_B - 1)
        first_B = draws.below("sub-sequence start", length_B - size_B + 1)
        return batch | self.window(record_B, first_B, first_B + size_B)


def _sub_sequence(settings: TaskSettings) -> int:
    return max(2, settings.history_length)


@preprocessor(makes=_EXAMPLE | _PLACES | {"history": fields.window(_sub_sequence)})
def sub_sequences(context: Context) -> _SubSequences:
    """A random sub-sequence of 2 to w items of a training part (MLM, section 3.1.2).

    With w = 3, the training part [4, 7, 1] gives one of [-1, 4, 7], [-1, 7, 1] and [4, 7, 1]:

        {"sample": [0], "position": [0]} -> {"history": [[-1, 7, 1]], "row": [0], …}

    Makes what `item_windows` makes.
    """
    return _SubSequences(context)
