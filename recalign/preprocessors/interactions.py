"""Samples about single interactions, as P5's families have them.

The split is leave-one-out for every family, as in the paper (Appendix A.1): train samples show and
ask about training parts alone, held-out ones about the last item of each user of the split.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from recalign.data.explanations import explained_places, reviewed_places
from recalign.data.prepared import PreparedDataset
from recalign.preprocessors import fields
from recalign.preprocessors.memo import once_per_dataset
from recalign.preprocessors.preprocessor import Batch, Context, Epoch, preprocessor
from recalign.preprocessors.windows import ABSENT, split_columns

_MAKES = {
    "row": fields.ROW,
    "record": fields.NUMBER,
    "history": fields.NUMBER,
    "target": fields.items(),
    "place": fields.NUMBER,
}


def _about(
    context: Context,
    places: np.ndarray,
    texts: Mapping[str, tf.Tensor] | None = None,
    place_of: Callable[[Batch, tf.Tensor], tf.Tensor] | None = None,
) -> Epoch:
    """Samples about places in the split's columns.

    Args:
        context: what the preprocessor is bound to.
        places: int64 [n], ascending, a sample each.
        texts: further fields of the samples, string [n].
        place_of: a batch and its records -> places of these records instead, int64 [B].
    """
    columns = split_columns(context.dataset, context.split)
    ends = (columns.starts + columns.lengths).numpy()
    with tf.init_scope():
        place_S = tf.constant(places, tf.int64)
        record_S = tf.constant(np.searchsorted(ends, places, side="right"), tf.int64)

    def fields_of(batch: Batch) -> Batch:
        sample_B = batch["sample"]
        record_B = tf.gather(record_S, sample_B)
        place_B = place_of(batch, record_B) if place_of else tf.gather(place_S, sample_B)
        return {
            "row": tf.gather(columns.rows, record_B),
            "record": record_B,
            "history": tf.fill([tf.size(sample_B), 1], ABSENT),
            "target": tf.gather(columns.items, place_B),
            "place": place_B,
            **{name: tf.gather(text_S, sample_B) for name, text_S in (texts or {}).items()},
        }

    return Epoch(len(places), fields_of)


def _last_places(context: Context) -> np.ndarray:
    """The last interaction of every record that has any."""
    columns = split_columns(context.dataset, context.split)
    lengths = columns.lengths.numpy()
    return (columns.starts.numpy() + lengths - 1)[lengths > 0]


@preprocessor(makes=_MAKES)
def users_items(context: Context) -> Epoch:
    """A sample a user, about an item of the training part that is drawn anew each time.

    A first user with the training part [4, 7] gives

        {"sample": [0], "position": [0]} -> {"target": [7], "row": [0], …}

    Makes `row`, `target`, `record` and `place` [B]; `history` shows nothing.
    """
    columns = split_columns(context.dataset, context.split)

    def drawn(batch: Batch, record_B: tf.Tensor) -> tf.Tensor:
        length_B = tf.gather(columns.lengths, record_B)
        start_B = tf.gather(columns.starts, record_B)
        return start_B + context.draws(batch).below("which item", length_B)

    place_of = drawn if context.split == "train" else None
    return _about(context, _last_places(context), place_of=place_of)


@preprocessor(makes=_MAKES)
def each_interaction(context: Context) -> Epoch:
    """A sample for every interaction of the training parts.

    A first user with the training part [4, 7] gives

        {"sample": [0, 1]} -> {"target": [4, 7], "row": [0, 0], …}

    Makes what `users_items` makes.
    """
    if context.split != "train":
        return _about(context, _last_places(context))
    count = int(split_columns(context.dataset, context.split).items.shape[0])
    return _about(context, np.arange(count, dtype=np.int64))


# Reviews ------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class ReviewTexts:
    """What is shown of the reviews in the training parts.

    Attributes:
        places: int64 [n], ascending: the interactions' places in the split's columns.
        texts: string [n] for each text field, "headline" only where the log has any.
    """

    places: np.ndarray
    texts: dict[str, tf.Tensor]


@once_per_dataset
def _written(dataset: PreparedDataset) -> ReviewTexts:
    """Reviews with a text and, if the log has headlines, a headline."""
    reviews = dataset.reviews("train")
    places = reviewed_places(reviews)
    return _of_places(dataset, places, {"review": pc.take(reviews.texts, pa.array(places))})


@once_per_dataset
def _explained(dataset: PreparedDataset) -> ReviewTexts:
    """Those of them that hold an explanation."""
    places, found = explained_places(dataset.reviews("train"))
    texts = {"explanation": found.sentences, "feature": found.features}
    return _of_places(dataset, places, texts)


def _of_places(
    dataset: PreparedDataset, places: np.ndarray, texts: dict[str, pa.LargeStringArray]
) -> ReviewTexts:
    headlines = pc.take(dataset.reviews("train").summaries, pa.array(places))
    if len(places) and headlines[0].as_py():
        texts = texts | {"headline": headlines}
    with tf.init_scope():
        return ReviewTexts(
            places,
            {
                name: tf.constant(text.to_numpy(zero_copy_only=False), tf.string)
                for name, text in texts.items()
            },
        )


def _missing(
    makes: Mapping[str, fields.FieldType], reviews: Callable[[PreparedDataset], ReviewTexts]
) -> Callable[[PreparedDataset], Mapping[str, str]]:
    def missing(dataset: PreparedDataset) -> Mapping[str, str]:
        name = dataset.name
        if not dataset.has_reviews:
            return dict.fromkeys(
                makes,
                f"dataset {name!r} has no review texts: prepare it with --review_texts from a log "
                "that has them, or use another task",
            )
        found = reviews(dataset)
        if not len(found.places):
            reason = f"no review in the training parts of {name!r} holds what is shown"
            return dict.fromkeys(makes, reason)
        return {} if "headline" in found.texts else {"headline": f"{name!r} has no headlines"}

    return missing


_REVIEW = _MAKES | {
    "review": fields.text(fields.REVIEW),
    "headline": fields.text(fields.HEADLINE),
}
_EXPLANATION = _MAKES | {
    "explanation": fields.text(fields.EXPLANATION),
    "feature": fields.text(fields.FEATURE),
    "headline": fields.text(fields.HEADLINE),
}


@preprocessor(makes=_REVIEW, missing=_missing(_REVIEW, _written))
def reviews(context: Context) -> Epoch:
    """A sample for every review of the training parts.

        {"sample": [0]} -> {"target": [4], "review": ["A fine kite. …"], "headline": ["Flies"], …}

    Makes what `users_items` makes, `review` and, where the log has them, `headline`, string [B].
    """
    found = _written(context.dataset)
    return _about(context, found.places, found.texts)


@preprocessor(makes=_EXPLANATION, missing=_missing(_EXPLANATION, _explained))
def explanations(context: Context) -> Epoch:
    """A sample for every review of the training parts that holds an explanation.

        {"sample": [0]} -> {"target": [4], "explanation": ["A fine kite."], "feature": ["kite"], …}

    Makes what `users_items` makes, `explanation`, `feature` and, where the log has them,
    `headline`, string [B].
    """
    found = _explained(context.dataset)
    return _about(context, found.places, found.texts)
