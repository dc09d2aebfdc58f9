"""A feature converter that also tells the model which answers an example allows."""

from collections.abc import Mapping

import seqio
import tensorflow as tf

from recalign.errors import UserError
from recalign.preprocessors.settings import TaskSettings

ANSWERS = "answers"
"""Model feature: numbers of answers, int32 [width], filled up with -1; all -1 is any item.

The numbers are `mixture.answers_by_number`'s: 0 and 1 are the two words that answer a rating task,
the item of catalogue index i has number `FIRST_ITEM + i`.
"""

FIRST_ITEM = 2


class AnswerFeatureConverter(seqio.EncDecFeatureConverter):
    """SeqIO's converter for encoder-decoder models, and `answers` beside its features.

    An example with `candidates` [3, 0] and width 4 gives `answers` [5, 2, -1, -1], one with a
    `label` [0, 1, -1, -1], any other [-1, -1, -1, -1].
    """

    MODEL_FEATURES: Mapping[str, seqio.FeatureConverter.FeatureSpec] = {
        **seqio.EncDecFeatureConverter.MODEL_FEATURES,
        ANSWERS: seqio.FeatureConverter.FeatureSpec(dtype=tf.int32),
    }

    def __init__(self, pack: bool = False, **arguments: bool):
        if pack:
            raise UserError("constrained decoding reads one example a row: bind pack = False")
        super().__init__(pack=pack, **arguments)

    def _convert_example(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        if "candidates" in features:
            numbers = tf.cast(features["candidates"], tf.int32) + FIRST_ITEM
        elif "label" in features:
            numbers = tf.range(FIRST_ITEM)
        else:
            numbers = tf.zeros(0, tf.int32)
        width = _width()
        filled = tf.pad(numbers, [[0, width - tf.size(numbers)]], constant_values=-1)
        converted = super()._convert_example(features)
        return {**converted, ANSWERS: tf.ensure_shape(filled, [width])}

    def get_model_feature_lengths(self, task_feature_lengths: Mapping[str, int]) -> dict[str, int]:
        """The lengths of the model's features."""
        return {**super().get_model_feature_lengths(task_feature_lengths), ANSWERS: _width()}


def _width() -> int:
    return max(FIRST_ITEM, TaskSettings().candidate_pool)
