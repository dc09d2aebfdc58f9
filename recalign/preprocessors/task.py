"""A SeqIO task whose samples are addressed by position, so that any host can start anywhere."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import seqio
import tensorflow as tf
from absl import logging

from recalign import prompts
from recalign.data.prepared import PreparedDataset, open_dataset
from recalign.errors import UserError
from recalign.preprocessors.draws import Draws, stream_key
from recalign.preprocessors.kinds import KINDS
from recalign.preprocessors.samples import Features, Request, Samples
from recalign.preprocessors.surroundings import data_directory, task_settings

BATCH = 256
"""Positions that are turned into examples at once: the operations' own cost is shared."""

_NO_PROMPT = prompts.Prompt((), ())

_ROUNDS = 12
"""Rounds of the cipher behind the shuffle: with TensorFlow's 4, a million samples keep a
correlation of 0.4 between neighbours and of 0.7 between two epochs; from 8 on there is none."""


class PreparedSource(seqio.DataSource):
    """The prepared dataset behind a task; nothing is read before it is needed."""

    def __init__(self, name: str, kind: str):
        super().__init__(splits=(), caching_permitted=False)
        self.dataset_name = name
        self._kind = kind

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have samples; none where the log lacks what the samples show."""
        samples = KINDS[self._kind]
        if reason := samples.lacking(self.open()):
            logging.warning("No %s samples: %s.", self._kind, reason)
            return ()
        return samples.splits

    @property
    def supports_arbitrary_sharding(self) -> bool:
        return True

    def list_shards(self, split: str) -> Sequence[str]:
        return [split]

    def open(self) -> PreparedDataset:
        """The prepared dataset in the data directory that is set now."""
        return open_dataset(self.dataset_name, data_directory())

    def get_dataset(self, split: str = "train", **arguments: Any) -> tf.data.Dataset:
        """The records' users; examples are made by the task, which reads columns, not records."""
        return tf.data.Dataset.from_tensor_slices(self.open().sequences(split).rows)


class RecommendationTask(seqio.Task):
    """Position n of the endless stream -> epoch and sample -> example, all without state.

    The example at a position depends on the seed, the position and the task's name alone: one host
    or eight, and a run that starts at `first_position`, read the same stream.
    """

    def __init__(
        self,
        name: str,
        *,
        dataset: str,
        kind: str,
        vocabulary: seqio.SentencePieceVocabulary,
        products: str = "products",
        prompt: prompts.Prompt | None = None,
        metric_objs: Sequence[seqio.metrics.Metric] = (),
    ):
        """A task of a prepared dataset.

        Args:
            name: unique among tasks.
            dataset: name of the prepared dataset.
            kind: which samples: a key of `kinds.KINDS`.
            vocabulary: of inputs and targets.
            products: the noun for what users buy.
            prompt: the wording; None for the paper's. P5's tasks have their templates instead.
            metric_objs: SeqIO metrics for evaluation.
        """
        if kind not in KINDS:
            raise UserError(f"task {name!r}: no samples of kind {kind!r}; there are {list(KINDS)}")
        feature = seqio.Feature(vocabulary=vocabulary, add_eos=True)
        super().__init__(
            name,
            source=PreparedSource(dataset, kind),
            output_features={"inputs": feature, "targets": feature},
            metric_objs=list(metric_objs),
            shuffle_buffer_size=None,
        )
        self.dataset_name = dataset
        self.kind = kind
        self.products = products
        self.prompt = prompts.PROMPTS.get(kind, _NO_PROMPT) if prompt is None else prompt

    @property
    def splits(self) -> Sequence[str]:
        return self.source.splits

    @property
    def lacking(self) -> str | None:
        """Why the log has no samples of this task; None where it has."""
        return KINDS[self.kind].lacking(self.source.open())

    @property
    def evaluated_as(self) -> str:
        """ "retrieval", "ranking" or "rating": whose metrics and answers it has; "" for none."""
        return KINDS[self.kind].evaluated_as if self.metric_objs else ""

    def num_input_examples(self, split: str) -> int:
        """The number of samples of an epoch."""
        return len(self.samples(split, None))

    def samples(self, split: str, sequence_length: Mapping[str, int] | None) -> Samples:
        """The task's samples in a split, fitted to these lengths, with the settings bound now."""
        lengths = sequence_length or {}
        dataset = self.source.open()
        splits = self.source.splits
        if splits and split not in splits:
            raise UserError(f"{self.name} has no split {split!r}; it has {', '.join(splits)}")
        return KINDS[self.kind](
            Request(
                task=self.name,
                dataset=dataset,
                split=split,
                prompt=self.prompt,
                products=self.products,
                vocabulary=self.output_features["inputs"].vocabulary,
                settings=task_settings(),
                inputs=lengths.get("inputs"),
                targets=lengths.get("targets"),
            )
        )

    def get_dataset(
        self,
        sequence_length: Mapping[str, int] | None = None,
        split: str = "train",
        use_cached: bool = False,
        shuffle: bool = True,
        shuffle_buffer_size: int | None = None,
        seed: int | None = None,
        shard_info: seqio.ShardInfo | None = None,
        num_epochs: int | None = 1,
        trim_output_features: bool = True,
        try_in_mem_cache: bool = True,
        *,
        first_position: int = 0,
    ) -> tf.data.Dataset:
        """The examples of a split, as `seqio.Task.get_dataset`.

        Args:
            sequence_length: the most tokens of `inputs` and `targets`; every prompt is fitted.
            split: "train", "validation" or "test".
            use_cached: unused: there is no cache.
            shuffle: whether an epoch's order is a random permutation, another in each epoch.
            shuffle_buffer_size: unused: the permutation is of the whole epoch.
            seed: decides the order and everything drawn in training; None for a new one.
            shard_info: every num_shards-th position, starting from the index-th.
            num_epochs: None for an endless stream.
            trim_output_features: unused: prompts are fitted, not cut.
            try_in_mem_cache: unused.
            first_position: where the stream starts, counted over all shards.
        """
        del use_cached, shuffle_buffer_size, trim_output_features, try_in_mem_cache
        samples = self.samples(split, sequence_length)
        if not len(samples):
            raise UserError(f"{self.name}: no samples in {split!r}: the users' sequences are short")
        shard = shard_info or seqio.ShardInfo(0, 1)
        end = tf.int64.max if num_epochs is None else num_epochs * len(samples)
        positions = tf.data.Dataset.range(first_position + shard.index, end, shard.num_shards)
        make = self.maker(samples, split, shuffle=shuffle, seed=seed)
        dataset = one_by_one(positions.batch(BATCH), make)
        if num_epochs is not None:
            left = max(0, end - first_position - shard.index)
            dataset = dataset.apply(
                tf.data.experimental.assert_cardinality(-(-left // shard.num_shards))
            )
        return dataset.prefetch(tf.data.AUTOTUNE)

    def maker(
        self, samples: Samples, split: str, *, shuffle: bool, seed: int | None
    ) -> Callable[[tf.Tensor], Features]:
        """What makes examples: positions of the endless stream, int64 [B] -> their features.

        Args:
            samples: the task's samples in the split.
            split: the split.
            shuffle: whether epochs are permuted.
            seed: see `get_dataset`.
        """
        if seed is None:
            seed = secrets.randbits(31) if shuffle else 0
        order_key = stream_key(seed, f"{self.name} order")
        if split == "train":
            draw_key = stream_key(seed, self.name)
        else:
            # Held-out samples are the same in every run: drawn for the dataset, not the run, and by
            # kind, so that a task of one's own and P5's ranking rank the same pools.
            draw_key = stream_key(
                samples.request.dataset.info["seed"], f"{samples.evaluated_as} {split}"
            )
        size = len(samples)

        def features_of(position_B: tf.Tensor) -> Features:
            sample_B = position_B % size
            if shuffle:
                sample_B = _permuted(sample_B, position_B // size, size, order_key)
            number_B = position_B if split == "train" else sample_B
            return samples(sample_B, Draws(draw_key, number_B))

        return features_of

    def replace(self, **changes: Any) -> "RecommendationTask":
        """The task with other arguments of the constructor."""
        arguments: dict[str, Any] = {
            "name": self.name,
            "dataset": self.dataset_name,
            "kind": self.kind,
            "vocabulary": self.output_features["inputs"].vocabulary,
            "products": self.products,
            "prompt": self.prompt,
            "metric_objs": self.metric_objs,
        }
        return RecommendationTask(**(arguments | changes))


def _permuted(number_B: tf.Tensor, epoch_B: tf.Tensor, size: int, key: int) -> tf.Tensor:
    """int64 [B]: where a random permutation of 0 … size - 1, another each epoch, sends numbers."""
    high, low = key >> 33, key & (2**31 - 1)
    seed_Bx3 = tf.stack(
        [tf.fill(tf.shape(epoch_B), tf.constant(part, tf.int64)) for part in (high, low)]
        + [epoch_B],
        axis=1,
    )
    return tf.raw_ops.RandomIndexShuffle(
        index=number_B, seed=seed_Bx3, max_index=tf.constant(size - 1, tf.int64), rounds=_ROUNDS
    )


_LENGTH = " length"


def one_by_one(batches: tf.data.Dataset, features_of: Callable[..., Features]) -> tf.data.Dataset:
    """Each example of the batches' features by itself, its ragged features as long as they are."""

    # Without data-dependent Python there is nothing to convert, and converting takes seconds.
    @tf.autograph.experimental.do_not_convert
    def dense(*batch: tf.Tensor) -> dict[str, tf.Tensor]:
        return _dense(features_of(*batch))

    options = tf.data.Options()
    options.deterministic = True
    return (
        batches.map(dense, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .unbatch()
        .map(_trimmed, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .with_options(options)
    )


def _dense(features: Features) -> dict[str, tf.Tensor]:
    """Ragged features padded, with their lengths beside them: unbatching them is faster."""
    dense = {}
    for name, value in features.items():
        if isinstance(value, tf.RaggedTensor):
            padded = value.to_tensor()
            # Unbatching a matrix without columns ends the process (TensorFlow 2.21).
            columns = tf.shape(padded)[1]
            dense[name] = tf.pad(padded, [[0, 0], [0, tf.maximum(0, 1 - columns)]])
            dense[name + _LENGTH] = tf.cast(value.row_lengths(), tf.int32)[:, tf.newaxis]
        else:
            dense[name] = value
    return dense


@tf.autograph.experimental.do_not_convert
def _trimmed(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """An example without its padding."""
    return {
        name: tf.slice(value, [0], example[name + _LENGTH]) if name + _LENGTH in example else value
        for name, value in example.items()
        if not name.endswith(_LENGTH)
    }
