"""What users like: by their ratings, beside the items of windows."""

from collections.abc import Callable, Mapping

import tensorflow as tf

from recalign import prompts
from recalign.data.prepared import PreparedDataset
from recalign.preprocessors import fields
from recalign.preprocessors.preprocessor import Batch, BatchFunction, Context, preprocessor
from recalign.preprocessors.surroundings import task_settings
from recalign.preprocessors.windows import ABSENT, split_columns


def without_ratings(*names: str) -> Callable[[PreparedDataset], Mapping[str, str]]:
    """Says of a dataset why it lacks these fields, where there is nothing to say about ratings."""

    def missing(dataset: PreparedDataset) -> Mapping[str, str]:
        reason = dataset.no_ratings(task_settings().like_threshold)
        if reason is None:
            return {}
        if dataset.info.get("ratings"):
            reason = f"dataset {dataset.name!r}: {reason}: there are no likes to predict"
        else:
            reason = (
                f"the log of dataset {dataset.name!r} has no ratings, so there are no likes to "
                "predict: prepare it from a log with a rating column, or use another task"
            )
        return dict.fromkeys(names, reason)

    return missing


def _is_like(context: Context, place: tf.Tensor) -> tf.Tensor:
    """bool, by places in the split's columns: whether the rating is above the threshold."""
    ratings = split_columns(context.dataset, context.split).ratings
    return tf.gather(ratings, place) > context.settings.threshold(context.dataset)


@preprocessor(
    makes={"label": fields.words(*prompts.YES_NO, like_dislike=prompts.LIKE_DISLIKE)},
    needs=["place"],
    missing=without_ratings("label"),
)
def label(context: Context) -> BatchFunction:
    """Whether the user likes the target: a rating above the threshold (section 3.2).

        {"place": [17], …} -> {"label": [1], …}

    Makes `label` int32 [B], 1 for a like.
    """
    return lambda batch: batch | {"label": tf.cast(_is_like(context, batch["place"]), tf.int32)}


@preprocessor(
    makes={"liked": fields.window(optional=True), "disliked": fields.window(optional=True)},
    needs=["history", "history_place"],
    missing=without_ratings("liked", "disliked"),
)
def likes(context: Context) -> BatchFunction:
    """The history's items that the user likes, and those that the user does not (section 3.2).

        {"history": [[4, 7]], …} -> {"liked": [[4, -1]], "disliked": [[-1, 7]], …}

    Makes `liked` and `disliked`, int32 [B, w].
    """

    def add(batch: Batch) -> Batch:
        likes_BxW = _is_like(context, batch["history_place"])
        return batch | {
            "liked": tf.where(likes_BxW, batch["history"], ABSENT),
            "disliked": tf.where(likes_BxW, ABSENT, batch["history"]),
        }

    return add


@preprocessor(
    makes={"answered": fields.ANSWERED},
    needs=["history", "history_place"],
    missing=without_ratings("answered"),
)
def answered(context: Context) -> BatchFunction:
    """The history's items, each with whether the user likes it, in the words of the label.

    Of three items in all,

        {"history": [[0, 2]], …} -> {"answered": [[3, 2]], …}

    is "I1 yes I3 no". Makes `answered` int32 [B, w]: the item's number, and that of all items more
    for a like.
    """
    items = len(context.dataset.catalogue)

    def add(batch: Batch) -> Batch:
        more_BxW = items * tf.cast(_is_like(context, batch["history_place"]), tf.int32)
        history_BxW = batch["history"]
        return batch | {"answered": tf.where(history_BxW >= 0, history_BxW + more_BxW, ABSENT)}

    return add


@preprocessor(makes={"stars": fields.STARS}, needs=["place"], missing=without_ratings("stars"))
def stars(context: Context) -> BatchFunction:
    """The user's rating of the target.

    Where the log's ratings are 1, 3 and 5, a rating of 5 is

        {"place": [17], …} -> {"stars": [2], …}

    Makes `stars` int32 [B], a place among the ratings that occur.
    """
    ratings = split_columns(context.dataset, context.split).ratings
    values = tf.constant(fields.star_values(context.dataset), tf.float32)
    return lambda batch: (
        batch | {"stars": tf.searchsorted(values, tf.gather(ratings, batch["place"]))}
    )
