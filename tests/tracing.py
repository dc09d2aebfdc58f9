"""Tasks whose graphs are traced once: that takes TensorFlow a second, and many tests build few."""

import contextlib
from collections.abc import Callable, Iterator, Mapping

import pytest
import tensorflow as tf

from recalign.preprocessors.families import templates_file
from recalign.preprocessors.negatives import negative_sampler
from recalign.preprocessors.surroundings import data_directory, entered, task_settings
from recalign.preprocessors.task import RecommendationTask

Makers = dict[tuple, tuple[int, Callable]]


@contextlib.contextmanager
def traced_once(makers: Makers) -> Iterator[None]:
    """Tasks give the makers of before where all that decides about their examples is equal.

    Args:
      makers: those of before; new ones are added.
    """
    maker = RecommendationTask.maker

    def of_before(
        self: RecommendationTask,
        split: str,
        sequence_length: Mapping[str, int] | None,
        *,
        shuffle: bool,
        seed: int | None,
    ) -> tuple[int, Callable]:
        if shuffle and seed is None:  # a seed of its own each time
            return maker(self, split, sequence_length, shuffle=shuffle, seed=seed)
        arguments = (split, *sorted((sequence_length or {}).items()), shuffle, seed)
        outside = (data_directory(), task_settings(), templates_file(), negative_sampler())
        key = (self, self.source.open(), *arguments, *outside, repr(entered()))
        if key not in makers:
            size, make = maker(self, split, sequence_length, shuffle=shuffle, seed=seed)
            numbers_B = tf.TensorSpec([None], tf.int64)
            makers[key] = size, tf.function(make, [numbers_B], autograph=False)
        return makers[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RecommendationTask, "maker", of_before)
        yield
