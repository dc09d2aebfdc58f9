"""The training stream for T5X, from where its newest checkpoint stands."""

from collections.abc import Callable

import seqio
import tensorflow as tf
from t5x import checkpoints_utils, utils

from recalign.preprocessors.mixture import StreamMixture
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

    Args:
        cfg: of the training data; without a seed it does begin anew, with another one.
        shard_id: which part of each batch.
        num_shards: how many parts there are.
        feature_converter_cls: of the model.
        model_dir: holds the run's checkpoints; one that the own engine wrote is as good.
        initial_step: of the start weights: before it, nothing was read.
    """
    provider = registered(cfg.mixture_or_task_name, cfg.module)
    if cfg.seed is None or not isinstance(provider, StreamMixture | RecommendationTask):
        return utils.get_dataset(cfg, shard_id, num_shards, feature_converter_cls)
    step = checkpoints_utils.latest_step(model_dir)
    examples = provider.get_dataset(
        cfg.task_feature_lengths,
        cfg.split,
        shuffle=cfg.shuffle,
        seed=cfg.seed,
        shard_info=seqio.ShardInfo(shard_id, num_shards),
        num_epochs=None,
        first_position=0 if step is None else (step - initial_step) * cfg.batch_size,
    )
    converter = feature_converter_cls(
        pack=cfg.pack, use_custom_packing_ops=cfg.use_custom_packing_ops
    )
    converted = converter(examples, task_feature_lengths=cfg.task_feature_lengths)
    return converted.batch(cfg.batch_size // num_shards, drop_remainder=True)
