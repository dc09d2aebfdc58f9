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
    """Samples about places in the split's columns, int64 [n], ascending, a sample each.

    `texts` are further fields of the samples, string [n]; `place_of` gives, of a batch and its
    records, other places of these records, int64 [B].
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


def _missing(*made: str, explained: bool) -> Callable[[PreparedDataset], Mapping[str, str]]:
    def missing(dataset: PreparedDataset) -> Mapping[str, str]:
        lost = [*_MAKES, *made, "headline"]
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


_HEADLINE = {"headline": fields.text(fields.HEADLINE)}


@preprocessor(
    makes=_MAKES | {"review": fields.text(fields.REVIEW)} | _HEADLINE,
    missing=_missing("review", explained=False),
)
def reviews(context: Context) -> Epoch:
    """A sample for every review of the training parts.

        {"sample": [0]} -> {"target": [4], "review": ["A fine kite. …"], "headline": ["Flies"], …}

    Makes what `users_items` makes, `review` and, where the log has them, `headline`, string [B].
    """
    return _about(context, *_shown_reviews(context.dataset, explained=False))


@preprocessor(
    makes=_MAKES
    | {"explanation": fields.text(fields.EXPLANATION), "feature": fields.text(fields.FEATURE)}
    | _HEADLINE,
    missing=_missing("explanation", "feature", explained=True),
)
def explanations(context: Context) -> Epoch:
    """A sample for every review of the training parts that holds an explanation.

        {"sample": [0]} -> {"target": [4], "explanation": ["A fine kite."], "feature": ["kite"], …}

    Makes what `users_items` makes, `explanation`, `feature` and, where the log has them,
    `headline`, string [B].
    """
    return _about(context, *_shown_reviews(context.dataset, explained=True))
