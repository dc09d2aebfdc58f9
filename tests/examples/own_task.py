"""Which two of these did the user buy together? A task of a kind of one's own.

A preprocessor makes two new fields, the prompt shows them, a metric reads the answers.
"""

import tensorflow as tf

import tasks
from recalign import metrics
from recalign.preprocessors import fields, negatives, rendering, windows
from recalign.preprocessors.preprocessor import preprocessor
from recalign.wording import Prompt


@preprocessor(
    makes={"pair": fields.items("list", 2), "offer": fields.items("list", 4)},
    needs=["history", "target", "negatives"],
)
def pair_among_four(context):
    """The window's last item and the next one, hidden among two that the user never had."""

    def add(batch):
        pair_Bx2 = tf.stack([batch["history"][:, -1], batch["target"]], axis=1)
        offer_Bx4 = tf.concat([pair_Bx2, batch["negatives"]], axis=1)
        order_Bx4 = tf.argsort(context.draws(batch).order("offer", 4), axis=1)
        offer_Bx4 = tf.gather(offer_Bx4, order_Bx4, axis=1, batch_dims=1)
        return batch | {"pair": pair_Bx2, "offer": offer_Bx4}

    return add


class BothFound(metrics.MeanOverExamples):
    name = "both_found"

    @classmethod
    def value(cls, example, target, beams):
        return float(set(beams[0].split(", ")) == set(target.split(", ")))


pair = tasks.task_of(
    "pair",
    "tiny",
    prompt=Prompt("Which two of these did the user buy together? {offer}", "{pair}"),
    preprocessors=[
        windows.next_item_windows(),
        negatives.negatives(count=2),
        pair_among_four(),
        rendering.render(),
        rendering.keep_features("pair", "offer"),
    ],
    metrics=[BothFound],
)
tasks.register_task(pair)
