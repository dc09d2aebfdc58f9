"""A SeqIO mixture whose endless dataset is one stream, on any number of hosts and in any engine."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import seqio
import tensorflow as tf

from recalign.preprocessors.stream import Stream


class StreamMixture(seqio.Mixture):
    """A mixture that whoever reads it through SeqIO, as T5X does, reads as our own trainer does.

    SeqIO's own mixture lets each host draw tasks for itself: eight hosts read another stream than
    one.
    """

    def get_dataset(
        self,
        sequence_length: Mapping[str, int] | None = None,
        split: str = "train",
        use_cached: bool = False,
        shuffle: bool = True,
        seed: int | None = None,
        shard_info: seqio.ShardInfo | None = None,
        num_epochs: int | None = None,
        *,
        passthrough_features: Sequence[str] | None = None,
        first_position: int = 0,
        **others: Any,
    ) -> tf.data.Dataset:
        """The mixed examples, as `seqio.Mixture.get_dataset`, which takes `others` too.

        Args are `RecommendationTask.get_dataset`'s, but for:
            seed: decides the choice of tasks, and everything drawn; None for a new one.
            num_epochs: None for the endless stream; a number of epochs is left to SeqIO's mixture,
                which ends with the first task that ends.
            passthrough_features: kept beside the tokens; those that all tasks have.
        """
        if num_epochs is not None:
            others["passthrough_features"] = passthrough_features
            standard = (sequence_length, split, use_cached, shuffle, seed, shard_info, num_epochs)
            return super().get_dataset(*standard, **others)
        self._check_compatible_features()
        if seed is None:
            seed = secrets.randbits(31) if shuffle else 0
        shard = shard_info or seqio.ShardInfo(0, 1)
        index = (first_position + shard.index) % shard.num_shards
        names = {*self.output_features, *(passthrough_features or ())}
        examples = Stream.of(self, seed, split=split, shuffle=shuffle).examples(
            first_position, sequence_length, shard.num_shards, slice(index, index + 1), names
        )
        return examples.map(lambda example: {name: example[name] for name in names})
