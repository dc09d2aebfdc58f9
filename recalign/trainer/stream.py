"""The training stream: example n is a function of (seed, n), wherever a run was stopped.

Which task position n belongs to is drawn from (seed, n) alone. The example at n is that task's
example number "how many positions before n belong to the task", which is counted, not replayed. So
a run goes on at any position without reading what came before it, and each host of many makes the
examples of its own rows only.
"""

import dataclasses
from collections.abc import Mapping
from functools import cached_property

import numpy as np
import seqio
import tensorflow as tf

from recalign.errors import UserError
from recalign.preprocessors.task import RecommendationTask

# Choices are drawn in blocks, so that counting them over millions of positions takes no time.
_BLOCK = 4096
_SPLIT = "train"
TOKENS = ("inputs", "targets")


@dataclasses.dataclass(frozen=True)
class Stream:
    """The endless training stream of a mixture's tasks.

    Attributes:
      tasks: those with a train split.
      rates: relative, aligned with `tasks`.
      seed: of the choice of tasks, and of each task's order and draws.
    """

    tasks: tuple[seqio.Task, ...]
    rates: tuple[float, ...]
    seed: int

    @classmethod
    def of(cls, name: str, seed: int) -> "Stream":
        """The stream of a registered mixture or task."""
        provider = seqio.get_mixture_or_task(name)
        if isinstance(provider, seqio.Task):
            return cls((provider,), (1.0,), seed)
        tasks = tuple(task for task in provider.tasks if _SPLIT in task.splits)
        if not tasks:
            raise UserError(f"no task of mixture {name} has a {_SPLIT} split")
        return cls(tasks, tuple(float(provider.get_rate(task)) for task in tasks), seed)

    def counts(self, start: int, stop: int) -> np.ndarray:
        """int64 [tasks]: how many of the positions start, …, stop - 1 belong to each task."""
        totals = np.zeros(len(self.tasks), np.int64)
        for block in range(start // _BLOCK, -(-stop // _BLOCK)):
            choices = self._choices(tf.constant(block, tf.int64)).numpy()
            inside = choices[max(0, start - block * _BLOCK) : stop - block * _BLOCK]
            totals += np.bincount(inside, minlength=len(self.tasks))
        return totals

    def batches(
        self, first_position: int, lengths: Mapping[str, int], batch_size: int, rows: slice
    ) -> tf.data.Dataset:
        """This process's rows of the batches from `first_position` on.

        Args:
          first_position: a multiple of `batch_size`.
          lengths: of "inputs" and "targets", to which both are padded with zeros, as SeqIO's
            EncDecFeatureConverter pads them without packing.
          batch_size: of the batch over all processes.
          rows: of each batch, those that this process reads.

        Returns:
          {"inputs" int32 [rows, L], "targets" int32 [rows, T], "task" int64 [rows]} without end.
        """
        numbered = self._numbered(first_position, batch_size, rows)
        choices = numbered.map(lambda task, number, mine: tf.boolean_mask(task, mine)).unbatch()
        examples = [
            self._examples(task_number, numbered, first_position, lengths)
            for task_number in range(len(self.tasks))
        ]
        shapes = {"inputs": lengths["inputs"], "targets": lengths["targets"], "task": ()}
        return (
            tf.data.Dataset.choose_from_datasets(examples, choices)
            .padded_batch(rows.stop - rows.start, padded_shapes=shapes, drop_remainder=True)
            .prefetch(2)
        )

    @cached_property
    def _thresholds(self) -> np.ndarray:
        return np.cumsum(np.asarray(self.rates, np.float64) / sum(self.rates))[:-1]

    def _choices(self, block: tf.Tensor) -> tf.Tensor:
        """Block number -> int64 [_BLOCK]: which task each of its positions belongs to."""
        seed = tf.stack([tf.constant(self.seed, tf.int64), block])
        drawn = tf.random.stateless_uniform([_BLOCK], seed, dtype=tf.float64, alg="philox")
        return tf.searchsorted(self._thresholds, drawn, side="right", out_type=tf.int64)

    def _numbered(self, first_position: int, batch_size: int, rows: slice) -> tf.data.Dataset:
        """A block at a time: task [n], number in its task's stream [n], within `rows` [n]."""
        first_block = first_position // _BLOCK
        before = self.counts(0, first_block * _BLOCK)

        def number(counts: tf.Tensor, block: tf.Tensor) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
            task = self._choices(block)
            belongs = tf.one_hot(task, len(self.tasks), dtype=tf.int64)
            earlier = counts + tf.cumsum(belongs, exclusive=True)
            position = block * _BLOCK + tf.range(_BLOCK, dtype=tf.int64)
            row = position % batch_size
            ahead = position >= first_position
            mine = (row >= rows.start) & (row < rows.stop)
            columns = (task, tf.gather(earlier, task, axis=1, batch_dims=1), mine)
            kept = tuple(tf.boolean_mask(column, ahead) for column in columns)
            return counts + tf.reduce_sum(belongs, axis=0), kept

        blocks = tf.data.Dataset.range(first_block, tf.int64.max)
        return blocks.scan(tf.constant(before, tf.int64), number)

    def _examples(
        self,
        task_number: int,
        numbered: tf.data.Dataset,
        first_position: int,
        lengths: Mapping[str, int],
    ) -> tf.data.Dataset:
        """The examples of one task at this process's positions."""
        task = self.tasks[task_number]
        its_own = numbered.map(
            lambda of, number, mine: (number[of == task_number], mine[of == task_number])
        )
        if isinstance(task, RecommendationTask):
            positions = its_own.map(tf.boolean_mask).unbatch()
            samples = task.samples(_SPLIT, lengths)
            if not len(samples):
                raise UserError(f"{task.name} has no samples in {_SPLIT!r}")
            dataset = task.examples_at(
                positions, samples, _SPLIT, shuffle=True, seed=self.seed, only=TOKENS
            )
        else:
            dataset = self._replayed(
                task, its_own, int(self.counts(0, first_position)[task_number]), lengths
            )

        def tokens(example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            cut = {name: tf.cast(example[name][: lengths[name]], tf.int32) for name in TOKENS}
            return {**cut, "task": tf.constant(task_number, tf.int64)}

        return dataset.map(tokens, num_parallel_calls=tf.data.AUTOTUNE)

    def _replayed(
        self,
        task: seqio.Task,
        its_own: tf.data.Dataset,
        skipped: int,
        lengths: Mapping[str, int],
    ) -> tf.data.Dataset:
        """A task whose examples cannot be addressed: read from its beginning, passed over."""
        dataset = task.get_dataset(
            sequence_length=dict(lengths),
            split=_SPLIT,
            shuffle=True,
            seed=self.seed,
            num_epochs=None,
        ).skip(skipped)
        mine = its_own.map(lambda number, mine: mine).unbatch()
        return (
            tf.data.Dataset.zip(dataset, mine)
            .filter(lambda example, mine: mine)
            .map(lambda example, mine: {name: example[name] for name in TOKENS})
        )
