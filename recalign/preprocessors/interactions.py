"""Samples about single interactions, as P5's families have them.

The split is leave-one-out for every family, as in the paper (Appendix A.1): train samples show and
ask about training parts alone, held-out ones about the last item of each user of the split.
"""

import functools
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from recalign.data.explanations import explained_places, reviewed_places
from recalign.data.prepared import PreparedDataset
from recalign.preprocessors import fields
from recalign.preprocessors.preprocessor import Batch, Context, Epoch, preprocessor
from recalign.preprocessors.windows import ABSENT, split_columns, windows

_MAKES = {
    "row": fields.ROW,
    "record": fields.NUMBER,
    "history": fields.NUMBER,
    "target": fields.items(),
    "place": fields.NUMBER,
}


def _without_history(context: Context, rule: str, target_of: Callable[..., tf.Tensor]) -> Epoch:
    """Samples that show no window; see `windows` for `rule`.

    In training `target_of` gives, of a batch, each sample's number in its record and the record's
    length, the target's place in the record, int64 [B]; held-out targets are the last items.
    """

    def bounds_of(batch: Batch, number_B: tf.Tensor, length_B: tf.Tensor) -> tuple:
        is_train = context.split == "train"
        target_B = target_of(batch, number_B, length_B) if is_train else length_B - 1
        return length_B, length_B, target_B

    return windows(context, rule, 1, bounds_of)


@preprocessor(makes=_MAKES)
def users_items(context: Context) -> Epoch:
    """A sample a user, about an item of the training part that is drawn anew each time.

    A first user with the training part [4, 7] gives

        {"sample": [0], "position": [0]} -> {"target": [7], "row": [0], …}

    Makes `row`, `target`, `record` and `place` [B]; `history` shows nothing.
    """

    def drawn(batch: Batch, number_B: tf.Tensor, length_B: tf.Tensor) -> tf.Tensor:
        return context.draws(batch).below("which item", length_B)

    return _without_history(context, "p5_direct", drawn)


@preprocessor(makes=_MAKES)
def each_interaction(context: Context) -> Epoch:
    """A sample for every interaction of the training parts.

    A first user with the training part [4, 7] gives

        {"sample": [0, 1]} -> {"target": [4, 7], "row": [0, 0], …}

    Makes what `users_items` makes.
    """
    return _without_history(context, "p5_rating", lambda batch, number_B, length_B: number_B)


@functools.lru_cache(64)
def _shown_reviews(
    dataset: PreparedDataset, *, explained: bool
) -> tuple[np.ndarray, dict[str, tf.Tensor]]:
    """The training parts' reviews, or those that hold an explanation.

    Their places in the split's columns, int64 [n], ascending, and texts, string [n] each; a
    "headline" only where the log has any.
    """
    reviews = dataset.reviews("train")
    if explained:
        places, found = explained_places(reviews)
        texts = {"explanation": found.sentences, "feature": found.features}
    else:
        places = reviewed_places(reviews)
        texts = {"review": pc.take(reviews.texts, pa.array(places))}
    headlines = pc.take(reviews.summaries, pa.array(places))
    if len(places) and headlines[0].as_py():
        texts["headline"] = headlines
    with tf.init_scope():
        return places, {
            name: tf.constant(text.to_numpy(zero_copy_only=False), tf.string)
            for name, text in texts.items()
        }


def _of_reviews(context: Context, *, explained: bool) -> Epoch:
    """A sample for each review of the training parts that is shown."""
    places, texts = _shown_reviews(context.dataset, explained=explained)
    columns = split_columns(context.dataset, "train")
    record_of_places = np.searchsorted(columns.starts.numpy(), places, side="right") - 1
    with tf.init_scope():
        place_S, record_S = tf.constant(places, tf.int64), tf.constant(record_of_places, tf.int64)

    def fields_of(batch: Batch) -> Batch:
        sample_B = batch["sample"]
        record_B, place_B = tf.gather(record_S, sample_B), tf.gather(place_S, sample_B)
        return {
            "row": tf.gather(columns.rows, record_B),
            "record": record_B,
            "history": tf.fill([tf.size(sample_B), 1], ABSENT),
            "target": tf.gather(columns.items, place_B),
            "place": place_B,
            **{name: tf.gather(text_S, sample_B) for name, text_S in texts.items()},
        }

    return Epoch(len(places), fields_of)


def _missing(*made: str, explained: bool) -> Callable[[PreparedDataset], Mapping[str, str]]:
    def missing(dataset: PreparedDataset) -> Mapping[str, str]:
        lost = [*_MAKES, *made]
        if not dataset.has_reviews:
            return dict.fromkeys(
                lost,
                f"dataset {dataset.name!r} has no review texts: prepare it with --review_texts "
                "from a log that has them, or use another task",
            )
        places, texts = _shown_reviews(dataset, explained=explained)
        if not len(places):
            reason = f"no review in the training parts of {dataset.name!r} holds what is shown"
            return dict.fromkeys(lost, reason)
        return {} if "headline" in texts else {"headline": f"{dataset.name!r} has no headlines"}

    return missing


_REVIEW = {"review": fields.text(fields.REVIEW), "headline": fields.text(fields.HEADLINE)}
_EXPLANATION = {
    "explanation": fields.text(fields.EXPLANATION),
    "feature": fields.text(fields.FEATURE),
    "headline": fields.text(fields.HEADLINE),
}


@preprocessor(makes=_MAKES | _REVIEW, missing=_missing(*_REVIEW, explained=False))
def reviews(context: Context) -> Epoch:
    """A sample for every review of the training parts.

        {"sample": [0]} -> {"target": [4], "review": ["A fine kite. …"], "headline": ["Flies"], …}

    Makes what `users_items` makes, `review` and, where the log has them, `headline`, string [B].
    """
    return _of_reviews(context, explained=False)


@preprocessor(makes=_MAKES | _EXPLANATION, missing=_missing(*_EXPLANATION, explained=True))
def explanations(context: Context) -> Epoch:
    """A sample for every review of the training parts that holds an explanation.

        {"sample": [0]} -> {"target": [4], "explanation": ["A fine kite."], "feature": ["kite"], …}

    Makes what `users_items` makes, `explanation`, `feature` and, where the log has them,
    `headline`, string [B].
    """
    return _of_reviews(context, explained=True)
