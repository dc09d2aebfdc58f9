"""A SeqIO task whose samples are addressed by position, so that any host can start anywhere."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import seqio
import tensorflow as tf
from absl import logging

from recalign.data.prepared import PreparedDataset, open_dataset
from recalign.data.splits import SPLITS
from recalign.errors import UserError
from recalign.preprocessors.checks import check
from recalign.preprocessors.draws import stream_key
from recalign.preprocessors.layout import form_of
from recalign.preprocessors.preprocessor import Batch, Context, Preprocessor
from recalign.preprocessors.samples import Recipe, Samples, Wording
from recalign.preprocessors.surroundings import data_directory, task_settings

_BATCH = 256
"""Positions that are turned into examples at once: the operations' own cost is shared."""

_ROUNDS = 12
"""Rounds of the cipher behind the shuffle: with TensorFlow's 4, a million samples keep a
correlation of 0.4 between neighbours and of 0.7 between two epochs; from 8 on there is none."""


class PreparedSource(seqio.FunctionDataSource):
    """The prepared dataset behind a task; nothing is read before it is needed."""

    def __init__(self, name: str, recipe: Recipe, splits: Sequence[str]):
        super().__init__(self._users, splits=(), caching_permitted=False)
        self.dataset_name = name
        self._recipe = recipe
        self._its_splits = tuple(splits)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have samples; none where the log lacks what the samples show."""
        if reason := self._recipe.lacking(self.open(), self._its_splits[0]):
            logging.warning("No %s samples: %s.", self._recipe.task, reason)
            return ()
        return self._its_splits

    def open(self) -> PreparedDataset:
        """The prepared dataset in the data directory that is set now."""
        return open_dataset(self.dataset_name, data_directory())

    def _users(self, split: str, shuffle_files: bool) -> tf.data.Dataset:
        """The records' users; examples are made by the task, which reads columns, not records."""
        return tf.data.Dataset.from_tensor_slices(self.open().sequences(split).rows)


class RecommendationTask(seqio.Task):
    """Position n of the endless stream -> epoch and sample -> example, all without state.

    The example at a position depends on seed, position and the task's name alone: one host or
    eight, and a run that starts at `first_position`, read the same stream.
    """

    def __init__(
        self,
        name: str,
        *,
        dataset: str,
        kind: str,
        prompt: Wording,
        preprocessors: Sequence[Callable],
        vocabulary: seqio.SentencePieceVocabulary,
        products: str | None = None,
        metric_objs: Sequence[seqio.metrics.Metric] = (),
        evaluated_as: str = "",
        splits: Sequence[str] | None = None,
    ):
        """A task of a prepared dataset.

        Args:
            dataset: name of the prepared dataset.
            kind: what such tasks are called whatever their dataset: what mixtures' rates name.
            preprocessors: ours, from positions to examples; any of SeqIO's may follow.
            products: the noun for what users buy; None: the dataset's own words, noun and verb.
            evaluated_as: "retrieval", "ranking" or "rating": what may answer it, how it is decoded
                and which tables it is in; "" for a task that answers with anything.
            splits: None for all where there are metrics, else for the training split alone.

        Raises:
            UserError: what `checks.check` finds wrong, in one line.
        """
        # What `replace` starts from: all arguments.
        self._given = {n: value for n, value in locals().items() if n not in ("self", "__class__")}
        ours = [step for step in preprocessors if isinstance(step, Preprocessor)]
        if not ours or list(preprocessors[: len(ours)]) != ours:
            raise UserError(f"{name}: recalign's preprocessors come first, SeqIO's after them")
        self._recipe = Recipe(name, prompt, ours, products or "products")
        check(self._recipe, evaluated_as)
        its_splits = splits or (SPLITS if metric_objs else SPLITS[:1])
        feature = seqio.Feature(vocabulary=vocabulary, add_eos=True)
        super().__init__(
            name,
            source=PreparedSource(dataset, self._recipe, its_splits),
            output_features={"inputs": feature, "targets": feature},
            preprocessors=list(preprocessors),
            metric_objs=list(metric_objs),
            shuffle_buffer_size=None,
        )
        self.dataset_name = dataset
        self.kind = kind
        self._evaluated_as = evaluated_as

    @property
    def recipe(self) -> Recipe:
        """What makes its samples, in the words of the dataset that is in its surroundings."""
        recipe = self._recipe
        return recipe.worded(self.source.open()) if self._given["products"] is None else recipe

    @property
    def splits(self) -> Sequence[str]:
        return self.source.splits

    @property
    def lacking(self) -> str | None:
        """Why the log has no samples of this task; None where it has."""
        return self._recipe.lacking(self.source.open())

    @property
    def evaluated_as(self) -> str:
        """ "retrieval", "ranking" or "rating": whose metrics and answers it has; "" for none."""
        return self._evaluated_as if self.metric_objs else ""

    @property
    def answers(self) -> tuple[str, ...]:
        """What may answer its examples: the catalogue's IDs, or two words, the negative first."""
        if self.evaluated_as == "rating":
            answer = self._recipe.templates("test")[0].answer
            form = answer and form_of(answer, self._recipe.types)
            assert form, "checks.check sees to it"
            return form.words
        return tuple(self.source.open().catalogue.ids)

    @property
    def is_addressed(self) -> bool:
        """Whether each example is made by itself: nothing follows our own preprocessors."""
        return len(self.preprocessors) == len(self._recipe.preprocessors)

    def num_input_examples(self, split: str) -> int:
        self._check_split(split)
        context = Context(self.name, self.source.open(), split, task_settings())
        return self._recipe.epoch(context).size

    def _check_split(self, split: str) -> None:
        if reason := self._recipe.lacking(self.source.open(), split):
            raise UserError(f"{self.name}: {reason}")
        splits = self.source.splits
        if split not in splits:
            raise UserError(f"{self.name} has no split {split!r}; it has {', '.join(splits)}")

    def samples(
        self,
        split: str,
        sequence_length: Mapping[str, int] | None,
        key: int = 0,
        dataset: PreparedDataset | None = None,
    ) -> Samples:
        """The task's samples in a split, fitted to these lengths, with the settings bound now.

        `dataset` is the prepared one with further items; None to open it. See `Samples`.
        """
        self._check_split(split)
        dataset = self.source.open() if dataset is None else dataset
        vocabulary, lengths = self.output_features["inputs"].vocabulary, sequence_length or {}
        return Samples(self.recipe, dataset, split, vocabulary, task_settings(), lengths, key)

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

        What it says of caches, of trimming and of the shuffle's buffer is unused.

        Args:
            sequence_length: the most tokens of `inputs` and `targets`; every prompt is fitted.
            shuffle: whether an epoch's order is a random permutation, another in each epoch.
            seed: decides the order and everything drawn in training; None for a new one.
            shard_info: every num_shards-th position, starting from the index-th.
            num_epochs: None for an endless stream.
            first_position: where the stream starts, counted over all shards.
        """
        del use_cached, shuffle_buffer_size, trim_output_features, try_in_mem_cache
        size, make = self.maker(split, sequence_length, shuffle=shuffle, seed=seed)
        shard = shard_info or seqio.ShardInfo(0, 1)
        end = tf.int64.max if num_epochs is None else num_epochs * size
        first = first_position if self.is_addressed else 0
        positions = tf.data.Dataset.range(first + shard.index, end, shard.num_shards)
        dataset = one_by_one(positions.batch(_BATCH), make)
        if not self.is_addressed:
            with seqio.utils.map_seed_manager(seed):
                after = self.preprocessors[len(self._recipe.preprocessors) :]
                dataset = self._preprocess_dataset(dataset, after, sequence_length)
            dataset = self._trim_output_features(dataset, sequence_length)
            # What follows ours may drop examples or make more of them: it is replayed.
            dataset = dataset.skip(first_position // shard.num_shards)
        elif num_epochs is not None:
            left = -(-max(0, end - first_position - shard.index) // shard.num_shards)
            dataset = dataset.apply(tf.data.experimental.assert_cardinality(left))
        return dataset.prefetch(tf.data.AUTOTUNE)

    def maker(
        self,
        split: str,
        sequence_length: Mapping[str, int] | None,
        *,
        shuffle: bool,
        seed: int | None,
    ) -> tuple[int, Callable[[tf.Tensor], Batch]]:
        """The samples of an epoch, and what makes examples: int64 [B] -> their features.

        The numbers are positions of the endless stream. For the arguments see `get_dataset`.
        """
        if seed is None:
            seed = secrets.randbits(31) if shuffle else 0
        order_key = stream_key(seed, f"{self.name} order")
        if split == "train":
            key = stream_key(seed, self.name)
        else:
            # Held-out samples are the same in every run: drawn for the dataset, not the run, and by
            # kind, so that a task of one's own and P5's ranking rank the same pools.
            of_dataset = self.source.open().info["seed"]
            key = stream_key(of_dataset, f"{self._evaluated_as} {split}")
        samples = self.samples(split, sequence_length, key)
        size = len(samples)
        if not size:
            raise UserError(f"{self.name}: no samples in {split!r}: the users' sequences are short")

        def features_of(position_B: tf.Tensor) -> Batch:
            sample_B = position_B % size
            if shuffle:
                sample_B = _permuted(sample_B, position_B // size, size, order_key)
            return samples(sample_B, position_B if split == "train" else sample_B)

        return size, features_of

    def replace(self, **changes: Any) -> "RecommendationTask":
        """The task with other arguments of the constructor; `name` among them."""
        return RecommendationTask(**(self._given | changes))


def _permuted(number_B: tf.Tensor, epoch_B: tf.Tensor, size: int, key: int) -> tf.Tensor:
    """int64 [B]: where a random permutation of 0 … size - 1, another each epoch, sends numbers."""
    halves = (key >> 33, key & (2**31 - 1))
    keys = (tf.fill(tf.shape(epoch_B), tf.constant(part, tf.int64)) for part in halves)
    seed_Bx3 = tf.stack([*keys, epoch_B], axis=1)
    return tf.raw_ops.RandomIndexShuffle(
        index=number_B, seed=seed_Bx3, max_index=tf.constant(size - 1, tf.int64), rounds=_ROUNDS
    )


def one_by_one(batches: tf.data.Dataset, features_of: Callable[..., Batch]) -> tf.data.Dataset:
    """Each example of the batches' features by itself, its ragged features as long as they are.

    Between, these are padded, with their lengths beside them: unbatching them is faster.
    """

    # Without data-dependent Python there is nothing to convert, and converting takes seconds.
    @tf.autograph.experimental.do_not_convert
    def dense(*batch: tf.Tensor) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        features = features_of(*batch)
        ragged = {n: it for n, it in features.items() if isinstance(it, tf.RaggedTensor)}
        lengths = {n: tf.cast(it.row_lengths(), tf.int32)[:, None] for n, it in ragged.items()}
        return features | {name: _padded(value) for name, value in ragged.items()}, lengths

    @tf.autograph.experimental.do_not_convert
    def trimmed(example: Batch, lengths: Batch) -> Batch:
        return example | {n: tf.slice(example[n], [0], length) for n, length in lengths.items()}

    return (
        batches.map(dense, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .unbatch()
        .map(trimmed, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    )


def _padded(ragged: tf.RaggedTensor) -> tf.Tensor:
    padded = ragged.to_tensor()
    # Unbatching a matrix without columns ends the process (TensorFlow 2.21).
    return tf.pad(padded, [[0, 0], [0, tf.maximum(0, 1 - tf.shape(padded)[1])]])
