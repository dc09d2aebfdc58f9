"""The samples of the recommendation tasks: retrieval, ranking, rating."""

import tensorflow as tf

from recalign import prompts
from recalign.data.prepared import PreparedDataset
from recalign.preprocessors.draws import Draws
from recalign.preprocessors.layout import Shown
from recalign.preprocessors.negatives import NegativeSampler
from recalign.preprocessors.samples import (
    EVALUATED_SPLITS,
    Features,
    Request,
    Samples,
    without_ratings,
)
from recalign.preprocessors.windows import Windows
from recalign.prompts import Slot


class Retrieval(Samples):
    """The next item of a window, out of the whole catalogue."""

    kind = "retrieval"
    splits = EVALUATED_SPLITS
    evaluated_as = "retrieval"

    def show(self, windows: Windows, draws: Draws) -> dict[Slot, Shown]:
        return {
            Slot.TARGET_ID: Shown(self.table.of_items("id", windows.next_item_B)[:, tf.newaxis])
        }


class Tiger(Retrieval):
    """Every item after what was before it, in IDs alone: TIGER's samples (arXiv 2305.05065)."""

    kind = "tiger"


class Ranking(Samples):
    """The next item of a window, out of a pool with negatives by popularity."""

    kind = "ranking"
    splits = EVALUATED_SPLITS
    evaluated_as = "ranking"

    def __init__(self, request: Request):
        self._pool = request.settings.candidate_pool
        self._negatives = NegativeSampler(request.dataset, request.split, self._pool - 1)
        super().__init__(request)

    def show(self, windows: Windows, draws: Draws) -> dict[Slot, Shown]:
        negatives_BxN = self._negatives(windows.record_B, draws)
        pool_BxC = tf.concat([windows.next_item_B[:, tf.newaxis], negatives_BxN], axis=1)
        # The order of drawing tells popularity, so the whole pool is shuffled.
        order_BxC = tf.argsort(draws.order("pool", self._pool), axis=1)
        pool_BxC = tf.gather(pool_BxC, order_BxC, axis=1, batch_dims=1)
        last_C = tf.equal(tf.range(self._pool), self._pool - 1)
        first_C = tf.where(last_C, self.table.first("id."), self.table.first("id,"))
        return {
            Slot.CANDIDATES: Shown(tf.ensure_shape(pool_BxC + first_C, [None, self._pool])),
            Slot.TARGET_ID: Shown(self.table.of_items("id", windows.next_item_B)[:, tf.newaxis]),
        }

    def extra(self, windows: Windows, shown: dict[Slot, Shown]) -> Features:
        phrase_BxC = shown[Slot.CANDIDATES].phrase_BxN
        last_C = tf.equal(tf.range(self._pool), self._pool - 1)
        first_C = tf.where(last_C, self.table.first("id."), self.table.first("id,"))
        return {"target": windows.next_item_B, "candidates": phrase_BxC - first_C}


class Rating(Samples):
    """Whether the user likes the next item, given likes and dislikes."""

    kind = "rating"
    splits = EVALUATED_SPLITS
    evaluated_as = "rating"

    @classmethod
    def lacking(cls, dataset: PreparedDataset) -> str | None:
        return without_ratings(dataset)

    def show(self, windows: Windows, draws: Draws) -> dict[Slot, Shown]:
        asked_Bx1 = self.table.of_items("item", windows.next_item_B)[:, tf.newaxis]
        no, yes = (self.table.word(answer) for answer in prompts.ANSWERS)
        return {
            Slot.ASKED: Shown(asked_Bx1, titles=1, ended=False),
            Slot.ANSWER: Shown(tf.where(self._liked(windows), yes, no)[:, tf.newaxis]),
        }

    def history(self, windows: Windows, keep_BxW: tf.Tensor) -> dict[Slot, Shown]:
        likes_BxW = self._likes(windows.history_rating_BxW)
        return {
            Slot.LIKED: self.items(windows.history_BxW, keep_BxW & likes_BxW, titles=1),
            Slot.DISLIKED: self.items(
                windows.history_BxW, keep_BxW & tf.logical_not(likes_BxW), titles=1
            ),
        }

    def extra(self, windows: Windows, shown: dict[Slot, Shown]) -> Features:
        return {"target": windows.next_item_B, "label": tf.cast(self._liked(windows), tf.int32)}

    def _liked(self, windows: Windows) -> tf.Tensor:
        return self._likes(windows.target_rating_B)

    def _likes(self, rating: tf.Tensor | None) -> tf.Tensor:
        assert rating is not None, "the log has ratings: the constructor checks it"
        return rating > self.request.settings.like_threshold
