"""The items that a question offers: the target among its negatives, in random order."""

import tensorflow as tf

from recalign.preprocessors import fields
from recalign.preprocessors.preprocessor import Batch, BatchFunction, Context, preprocessor


@preprocessor(
    makes={"candidates": fields.items("list", lambda settings: settings.candidate_pool)},
    needs=["target", "negatives"],
)
def shuffled_pool(context: Context) -> BatchFunction:
    """The target and the negatives in random order (ranking, section 3.2).

        {"target": [4], "negatives": [[7, 1]]} -> {"candidates": [[7, 4, 1]], …}

    Makes `candidates` int32 [B, pool].
    """
    pool = context.settings.candidate_pool

    def add(batch: Batch) -> Batch:
        pool_BxC = tf.concat([batch["target"][:, tf.newaxis], batch["negatives"]], axis=1)
        # The order of drawing tells popularity, so the whole pool is shuffled.
        order_BxC = tf.argsort(context.draws(batch).order("pool", pool), axis=1)
        pool_BxC = tf.gather(pool_BxC, order_BxC, axis=1, batch_dims=1)
        return batch | {"candidates": tf.ensure_shape(pool_BxC, [None, pool])}

    return add


@preprocessor(makes={"choices": fields.items("items", 2)}, needs=["target", "negatives"])
def two_choices(context: Context) -> BatchFunction:
    """The target and one negative in random order (BPR, section 3.1.3).

        {"target": [4], "negatives": [[7]]} -> {"choices": [[7, 4]], …}

    Makes `choices` int32 [B, 2].
    """

    def add(batch: Batch) -> Batch:
        pair_Bx2 = tf.stack([batch["target"], batch["negatives"][:, 0]], axis=1)
        target_first_Bx1 = context.draws(batch).uniform("order of the two", 1) < 0.5
        pair_Bx2 = tf.where(target_first_Bx1, pair_Bx2, pair_Bx2[:, ::-1])
        return batch | {"choices": pair_Bx2}

    return add
