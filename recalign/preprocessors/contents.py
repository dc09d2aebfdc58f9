"""Questions about items' content."""

import numpy as np
import tensorflow as tf

from recalign import prompts
from recalign.preprocessors import fields
from recalign.preprocessors.preprocessor import Batch, Context, Epoch, preprocessor
from recalign.preprocessors.windows import ABSENT


@preprocessor(
    makes={
        "row": fields.NUMBER,
        "history": fields.NUMBER,
        "target": fields.items(),
        "question": fields.QUESTION,
        "value": fields.VALUE,
    }
)
def item_contents(context: Context) -> Epoch:
    """A question for each known field of each item (IE, Figure 3).

    Where the first item has a title and a price, the fields 0 and 3,

        {"sample": [0, 1]} -> {"target": [0, 0], "question": [0, 3], …}

    Makes `target`, `question` and `value` int32 [B]; `row` is -1, and `history` shows nothing.
    """
    items = len(context.dataset.catalogue.ids)
    known = [
        (item, number)
        for number, field in enumerate(prompts.FIELD_QUESTIONS)
        for item, value in enumerate(fields.item_values(context.dataset, field))
        if value
    ]
    pairs = np.array(sorted(known), np.int32).reshape(-1, 2)
    with tf.init_scope():
        item_S, field_S = tf.constant(pairs[:, 0]), tf.constant(pairs[:, 1])

    def fields_of(batch: Batch) -> Batch:
        item_B = tf.gather(item_S, batch["sample"])
        field_B = tf.gather(field_S, batch["sample"])
        return {
            "row": tf.fill(tf.shape(batch["sample"]), tf.constant(-1, tf.int64)),
            "history": tf.fill([tf.size(item_B), 1], ABSENT),
            "target": item_B,
            "question": field_B,
            "value": field_B * items + item_B,
        }

    return Epoch(len(pairs), fields_of)
