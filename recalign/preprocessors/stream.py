"""The stream of a mixture: example n is a function of (seed, n), wherever a run was stopped.

Which task position n belongs to is drawn from (seed, n) alone. The example at n is that task's
example number "how many positions before n belong to the task", which is counted, not replayed. So
a run goes on at any position without reading what came before it, and each host of many makes the
examples of its own positions only. Both engines read this stream: our own trainer its `batches`,
T5X its `examples` through SeqIO (`mixture.py`).
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property

import numpy as np
import seqio
import tensorflow as tf

from recalign.errors import UserError
from recalign.preprocessors.preprocessor import TOKENS, Batch
from recalign.preprocessors.task import one_by_one

_BLOCK = 4096
"""Tasks drawn at once, so that counting them over millions of positions takes no time."""

_CHUNK = 4096
"""Positions that are turned into examples at once: the operations' own cost is shared."""


@dataclasses.dataclass(frozen=True)
class Stream:
    """The endless stream of a mixture's tasks in one split."""

    tasks: tuple[seqio.Task, ...]  # those that have the split
    rates: tuple[float, ...]  # relative, aligned with `tasks`
    seed: int  # of the choice of tasks, and of each task's order and draws
    split: str = "train"
    shuffle: bool = True  # whether a task's epochs are permuted
    # What makes chunks of some lengths and names, once traced.
    _traced: dict[tuple, Callable] = dataclasses.field(
        default_factory=dict, init=False, compare=False
    )

    @classmethod
    def of(
        cls,
        mixture_or_task: str | seqio.Mixture | seqio.Task,
        seed: int,
        *,
        split: str = "train",
        shuffle: bool = True,
    ) -> "Stream":
        """The stream of a mixture or task, or of a registered name.

        Raises:
          UserError: no task has the split, or none of those that the mixture is there for.
        """
        provider = seqio.maybe_get_mixture_or_task(mixture_or_task)
        if isinstance(provider, seqio.Task):
            return cls((provider,), (1.0,), seed, split, shuffle)
        tasks = tuple(task for task in provider.tasks if split in task.splits)
        if not tasks:
            raise UserError(f"no task of mixture {provider.name} has a {split} split")
        _check_purpose(provider, tasks)
        rates = tuple(float(provider.get_rate(task)) for task in tasks)
        return cls(tasks, rates, seed, split, shuffle)

    def counts(self, start: int, stop: int) -> np.ndarray:
        """int64 [tasks]: how many of the positions start, …, stop - 1 belong to each task."""
        totals = np.zeros(len(self.tasks), np.int64)
        for block in range(start // _BLOCK, -(-stop // _BLOCK)):
            choices = self._choices(tf.constant(block, tf.int64)).numpy()
            inside = choices[max(0, start - block * _BLOCK) : stop - block * _BLOCK]
            totals += np.bincount(inside, minlength=len(self.tasks))
        return totals

    def passes(self, examples: float) -> dict[str, float]:
        """How often so many examples go over the samples of each task that tells their number."""
        share = examples / sum(self.rates)
        return {
            task.name: share * rate / size
            for task, rate in zip(self.tasks, self.rates, strict=True)
            if (size := task.num_input_examples(self.split))
        }

    def batches(
        self, first_position: int, lengths: Mapping[str, int], batch_size: int, rows: slice
    ) -> tf.data.Dataset:
        """This process's rows of the batches from `first_position` on.

        Args:
          first_position: a multiple of `batch_size`; before it nothing is read.
          lengths: of "inputs" and "targets", to which both are padded with zeros, as SeqIO's
            EncDecFeatureConverter pads them without packing.
          batch_size: number of stream positions in one global batch.
          rows: those positions of each batch that this process reads.

        Returns:
          {"inputs" int32 [rows, L], "targets" int32 [rows, T], "task" int64 [rows]} without end.
        """
        size = rows.stop - rows.start
        if not self._is_addressed:
            shapes = {"inputs": lengths["inputs"], "targets": lengths["targets"], "task": ()}
            examples = self.examples(first_position, lengths, batch_size, rows)
            return examples.padded_batch(size, shapes, drop_remainder=True).prefetch(2)
        features_of = self._features_of(lengths, TOKENS)

        @tf.autograph.experimental.do_not_convert
        def padded(task_B: tf.Tensor, number_B: tf.Tensor) -> dict[str, tf.Tensor]:
            features = features_of(task_B, number_B)
            return {
                name: value.to_tensor(shape=[None, lengths[name]]) if name in TOKENS else value
                for name, value in features.items()
            }

        # Whole chunks from the numbers to the padded tokens: an example by itself, taken out of
        # one batch and put into another, would cost more than it took to make it.
        chunks = self._of_rows(first_position, batch_size, rows).rebatch(_CHUNK)
        return (
            chunks.map(padded, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            .rebatch(size, drop_remainder=True)
            .prefetch(2)
        )

    def examples(
        self,
        first_position: int,
        lengths: Mapping[str, int] | None,
        batch_size: int,
        rows: slice,
        names: Collection[str] = TOKENS,
    ) -> tf.data.Dataset:
        """What `batches` holds, one by one and as long as they are; see there.

        `names` are of features that all the tasks have; without lengths they are of any length.
        """
        own = self._of_rows(first_position, batch_size, rows)
        if self._is_addressed:
            return one_by_one(own.rebatch(_CHUNK), self._features_of(lengths, names))
        numbered = self._numbered(first_position, batch_size, rows)
        skipped = self.counts(0, first_position)
        datasets = [
            self._examples_of(task, numbered, int(skipped[task]), lengths, names)
            for task in range(len(self.tasks))
        ]
        chosen = own.map(lambda task, number: task).unbatch()
        return tf.data.Dataset.choose_from_datasets(datasets, chosen)

    @cached_property
    def _is_addressed(self) -> bool:
        """Whether the examples of all tasks can be asked for by position."""
        return all(getattr(task, "is_addressed", False) for task in self.tasks)

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

        @tf.autograph.experimental.do_not_convert
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

    def _of_rows(self, first_position: int, batch_size: int, rows: slice) -> tf.data.Dataset:
        """As `_numbered`, without the positions that are not within `rows`."""

        @tf.autograph.experimental.do_not_convert
        def of_rows(task: tf.Tensor, number: tf.Tensor, mine: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return tf.boolean_mask(task, mine), tf.boolean_mask(number, mine)

        return self._numbered(first_position, batch_size, rows).map(of_rows)

    def _features_of(
        self, lengths: Mapping[str, int] | None, names: Collection[str]
    ) -> Callable[[tf.Tensor, tf.Tensor], Batch]:
        """What makes a chunk: tasks and numbers in their streams, int64 [B] -> features.

        However often a stream is read, it is traced once: that takes a second a task.
        """
        asked = (*sorted((lengths or {}).items()), *names)
        if asked not in self._traced:
            signature = [tf.TensorSpec([None], tf.int64)] * 2
            untraced = self._untraced(lengths, names)
            self._traced[asked] = tf.function(untraced, signature, autograph=False)
        return self._traced[asked]

    def _untraced(
        self, lengths: Mapping[str, int] | None, names: Collection[str]
    ) -> Callable[[tf.Tensor, tf.Tensor], Batch]:
        drawn = {"shuffle": self.shuffle, "seed": self.seed}
        makers = [task.maker(self.split, lengths, **drawn)[1] for task in self.tasks]
        if len(makers) == 1:  # nothing to put in order

            def features_of_one(task_B: tf.Tensor, number_B: tf.Tensor) -> Batch:
                made = makers[0](number_B)
                return {name: made[name] for name in names} | {"task": task_B}

            return features_of_one

        def features_of(task_B: tf.Tensor, number_B: tf.Tensor) -> Batch:
            # A task that is absent makes one example that is left over: not every operation is
            # defined on no rows at all.
            size = tf.size(task_B, tf.int64)
            spare_B = tf.pad(number_B, [[0, 1]])
            places, parts = [], []
            for n, maker in enumerate(makers):
                place = tf.where(tf.equal(task_B, n))[:, 0]
                missing = tf.cast(tf.equal(tf.size(place), 0), tf.int32)
                places.append(tf.pad(place, [[0, missing]], constant_values=size))
                parts.append(maker(tf.gather(spare_B, places[-1])))
            order_B = tf.argsort(tf.concat(places, axis=0))[:size]
            features = {
                name: tf.gather(tf.concat([part[name] for part in parts], axis=0), order_B)
                for name in names
            }
            return features | {"task": task_B}

        return features_of

    def _examples_of(
        self,
        task_number: int,
        numbered: tf.data.Dataset,
        skipped: int,
        lengths: Mapping[str, int] | None,
        names: Collection[str],
    ) -> tf.data.Dataset:
        """The examples of one task, where others of the mixture cannot be addressed."""
        task = self.tasks[task_number]
        its_own = numbered.map(
            lambda of, number, mine: (number[of == task_number], mine[of == task_number])
        )
        if getattr(task, "is_addressed", False):
            _, make = task.maker(self.split, lengths, shuffle=self.shuffle, seed=self.seed)
            dataset = one_by_one(
                its_own.map(tf.boolean_mask).rebatch(_CHUNK),
                lambda number_B: {name: make(number_B)[name] for name in names},
            )
        else:
            # Its examples cannot be addressed: they are read from the beginning.
            limits, options = dict(lengths or {}), {"shuffle": self.shuffle, "seed": self.seed}
            replayed = task.get_dataset(lengths and limits, self.split, num_epochs=None, **options)
            mine = its_own.map(lambda number, mine: mine).unbatch()
            dataset = (
                tf.data.Dataset.zip(replayed.skip(skipped), mine)
                .filter(lambda example, mine: mine)
                .map(lambda example, mine: {n: _cut(example, n, limits) for n in names})
            )
        return dataset.map(lambda example: example | {"task": tf.constant(task_number, tf.int64)})


def _cut(example: Mapping[str, tf.Tensor], name: str, limits: Mapping[str, int]) -> tf.Tensor:
    value = example[name]
    return tf.cast(value[: limits.get(name)], tf.int32) if name in TOKENS else value


def _check_purpose(mixture: seqio.Mixture, tasks: Sequence[seqio.Task]) -> None:
    """Refuses a mixture whose recommendation tasks are all lost for want of data."""
    purpose = [task for task in mixture.tasks if getattr(task, "evaluated_as", "")]
    if not purpose or any(task in tasks for task in purpose):
        return
    reasons = dict.fromkeys(filter(None, (task.lacking for task in purpose)))
    if reasons:
        names = ", ".join(task.name for task in purpose)
        raise UserError(f"mixture {mixture.name} is there for {names}: {'; '.join(reasons)}")
