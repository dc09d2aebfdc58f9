"""The training stream for T5X, from where its newest checkpoint stands."""

from collections.abc import Callable

import seqio
import tensorflow as tf
from absl import logging
from t5x import checkpoints_utils, utils

from recalign.errors import UserError
from recalign.preprocessors.mixture import StreamMixture
from recalign.preprocessors.packed_stream import PackedStream
from recalign.preprocessors.stream import Stream
from recalign.preprocessors.task import RecommendationTask
from recalign.t5x.mixture import registered


def resumed_dataset(
    cfg: utils.DatasetConfig,
    shard_id: int,
    num_shards: int,
    feature_converter_cls: Callable[..., seqio.FeatureConverter],
    *,
    model_dir: str,
    initial_step: int,
) -> tf.data.Dataset:
    """As `t5x.utils.get_dataset`, which begins anew whenever a run is resumed.

    Without a seed in `cfg` it does begin anew, with another one. A checkpoint in `model_dir` that
    the own engine wrote is as good. Before `initial_step`, of the start weights, nothing was read.
    """
    provider = registered(cfg.mixture_or_task_name, cfg.module)
    step = checkpoints_utils.latest_step(model_dir)
    first_position = 0 if step is None else (step - initial_step) * cfg.batch_size
    if cfg.pack:
        return _packed(cfg, provider, shard_id, num_shards, first_position)
    if cfg.seed is None or not isinstance(provider, StreamMixture | RecommendationTask):
        return utils.get_dataset(cfg, shard_id, num_shards, feature_converter_cls)
    examples = provider.get_dataset(
        cfg.task_feature_lengths,
        cfg.split,
        shuffle=cfg.shuffle,
        seed=cfg.seed,
        shard_info=seqio.ShardInfo(shard_id, num_shards),
        num_epochs=None,
        first_position=first_position,
    )
    converter = feature_converter_cls(
        pack=cfg.pack, use_custom_packing_ops=cfg.use_custom_packing_ops
    )
    converted = converter(examples, task_feature_lengths=cfg.task_feature_lengths)
    return converted.batch(cfg.batch_size // num_shards, drop_remainder=True)


def _packed(
    cfg: utils.DatasetConfig,
    provider: seqio.Task | seqio.Mixture,
    shard_id: int,
    num_shards: int,
    first_position: int,
) -> tf.data.Dataset:
    """The own engine's packed rows, under T5X's names."""
    if cfg.seed is None:
        raise UserError("PACK = True needs a RANDOM_SEED, so that a resumed run reads on")
    stream = Stream.of(provider, cfg.seed, split=cfg.split, shuffle=cfg.shuffle)
    size = cfg.batch_size // num_shards
    rows = slice(shard_id * size, (shard_id + 1) * size)
    lengths = cfg.task_feature_lengths
    batches = PackedStream.of(stream, lengths, logging.warning).batches(
        first_position, lengths, cfg.batch_size, rows
    )
    return batches.map(_under_t5x_names, num_parallel_calls=tf.data.AUTOTUNE)


def _under_t5x_names(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    targets = batch["targets"]
    before = tf.pad(targets[:, :-1], [[0, 0], [1, 0]])
    return {
        "encoder_input_tokens": batch["inputs"],
        "encoder_segment_ids": batch["inputs_segment_ids"],
        "encoder_positions": batch["inputs_positions"],
        "decoder_target_tokens": targets,
        # An example begins with the start token, 0, wherever it stands in its row.
        "decoder_input_tokens": tf.where(batch["targets_positions"] > 0, before, 0),
        "decoder_loss_weights": tf.cast(targets > 0, tf.int32),
        "decoder_segment_ids": batch["targets_segment_ids"],
        "decoder_positions": batch["targets_positions"],
    }
