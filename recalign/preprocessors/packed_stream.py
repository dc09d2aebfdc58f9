"""A stream's examples in packed rows: row n is a function of (seed, n), wherever a run was stopped.

Every window of 2,048 positions of the stream is packed by itself, into as many rows as any other:
a run goes on at any row, and one host or eight read the same. How many rows that takes is measured
once, on the first windows. Should a later one need more, its shortest examples are left out.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from recalign.errors import UserError
from recalign.preprocessors import packing
from recalign.preprocessors.packing import LEFT_OUT
from recalign.preprocessors.preprocessor import TOKENS
from recalign.preprocessors.stream import Stream

WINDOW = 2048
"""Positions of the stream that are packed together."""

_MEASURED = 4
"""Windows whose rows are counted before the first; they vary by a few per cent."""


@dataclasses.dataclass
class PackedStream:
    """The endless stream of rows; its positions are rows."""

    stream: Stream  # of the examples
    lengths: Mapping[str, int]  # of "inputs" and "targets", of a row and the most of an example
    rows: int  # that a window is packed into
    tell: Callable[[str], None] | None = None  # told, once, the share that is left out

    @classmethod
    def of(
        cls,
        stream: Stream,
        lengths: Mapping[str, int],
        tell: Callable[[str], None] | None = None,
    ) -> "PackedStream":
        """With as many rows a window as the first windows need, and their spread to spare."""
        batches = stream.batches(0, lengths, WINDOW, slice(0, WINDOW)).take(_MEASURED)
        sizes = map(_sizes, batches.as_numpy_iterator())
        needed = [packing.rows_needed(size, lengths) for size in sizes]
        return cls(stream, dict(lengths), cls.rows_of(needed), tell)

    @staticmethod
    def rows_of(needed: Sequence[int]) -> int:
        """Rows for any window, given those that some need."""
        return 2 * max(needed) - min(needed)

    @property
    def examples_per_row(self) -> float:
        """How many there are on average."""
        return WINDOW / self.rows

    def batches(
        self, first_position: int, lengths: Mapping[str, int], batch_size: int, rows: slice
    ) -> tf.data.Dataset:
        """This process's rows of the batches from row `first_position` on; see `Stream.batches`.

        For "inputs" and "targets" there are their tokens, `…_segment_ids` and `…_positions`, int32
        [rows, length]; "task" int32 [rows, length of targets] is the task at each target, -1 at
        padding; "examples" int64 [tasks] counts those that the batch's rows hold, of all processes.
        """
        if dict(lengths) != dict(self.lengths):
            raise UserError(f"rows of {self.lengths} were asked for as {dict(lengths)}")
        window, skipped = divmod(first_position, self.rows)

        def own(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            examples = tf.reduce_sum(batch.pop("examples"), axis=0)
            return {name: value[rows] for name, value in batch.items()} | {"examples": examples}

        def ahead(number: tf.Tensor, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            first = tf.where(tf.equal(number, 0), skipped, 0)
            return {name: value[first:] for name, value in batch.items()}

        return (
            self._windows(window)
            .enumerate()
            .map(ahead)
            .rebatch(batch_size, drop_remainder=True)
            .map(own, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            .prefetch(2)
        )

    def _windows(self, first: int) -> tf.data.Dataset:
        """All rows of a window at a time; "examples" int64 [rows, tasks] says whose they are."""
        batches = self.stream.batches(first * WINDOW, self.lengths, WINDOW, slice(0, WINDOW))
        shapes = self._shapes()

        @tf.autograph.experimental.do_not_convert
        def packed(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            arrays = tf.numpy_function(
                self._packed,
                [batch[name] for name in (*TOKENS, "task")],
                [dtype for _, dtype in shapes.values()],
                stateful=False,
            )
            return {
                name: tf.ensure_shape(array, shape)
                for (name, (shape, _)), array in zip(shapes.items(), arrays, strict=True)
            }

        return batches.map(packed, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def _shapes(self) -> dict[str, tuple[tuple[int, int], tf.DType]]:
        shapes = {
            name + suffix: ((self.rows, self.lengths[name]), tf.int32)
            for name in TOKENS
            for suffix in ("", "_segment_ids", "_positions")
        }
        shapes["task"] = ((self.rows, self.lengths["targets"]), tf.int32)
        shapes["examples"] = ((self.rows, len(self.stream.tasks)), tf.int64)
        return shapes

    def _packed(self, *columns: np.ndarray) -> list[np.ndarray]:
        batch = dict(zip((*TOKENS, "task"), columns, strict=True))
        row_N = packing.rows_of_examples(_sizes(batch), self.lengths, self.rows)
        row_N = packing.without_empty_rows(row_N, self.rows)
        left_out = np.count_nonzero(row_N == LEFT_OUT)
        tell = self.tell if left_out else None
        if tell is not None:
            share = f"{left_out / len(row_N):.2%} of a window's examples"
            room = f"no room in its {self.rows:,} rows and are left out"
            tell(f"packed: {share} have {room}; other windows differ and say no more")
            self.tell = None
        # The packer's rows begin with the longest examples; a step is to hold rows of every kind.
        row_N = np.where(row_N == LEFT_OUT, row_N, spread(self.rows)[row_N])
        # 0 is padding, as with tokens.
        tasks_NxT = np.where(batch["targets"] > 0, batch["task"][:, None] + 1, 0)
        tokens = {**{name: batch[name] for name in TOKENS}, "task": tasks_NxT}
        capacity = {**self.lengths, "task": self.lengths["targets"]}
        packed = packing.packed_rows(tokens, row_N, capacity, self.rows)
        packed["task"] -= 1
        packed["examples"] = np.zeros((self.rows, len(self.stream.tasks)), np.int64)
        has_room_N = row_N != LEFT_OUT
        np.add.at(packed["examples"], (row_N[has_room_N], batch["task"][has_room_N]), 1)
        return [packed[name] for name in self._shapes()]


def spread(rows: int) -> np.ndarray:
    """A permutation of 0 … rows - 1 in which neighbours lie far apart, evenly.

    >>> spread(8)
    array([0, 5, 2, 7, 4, 1, 6, 3])
    """
    golden = round(rows * (math.sqrt(5) - 1) / 2)
    stride = next(
        n for away in range(rows) for n in (golden + away, golden - away) if math.gcd(n, rows) == 1
    )
    return np.arange(rows) * stride % rows


def _sizes(batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.count_nonzero(batch[name], axis=1) for name in TOKENS}
