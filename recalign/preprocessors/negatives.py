"""Negatives: without replacement, never from the user's own sequence; by train popularity."""

import dataclasses
import functools
from collections.abc import Callable

import gin
import numpy as np
import tensorflow as tf

from recalign.data.prepared import PreparedDataset
from recalign.errors import UserError
from recalign.preprocessors import fields
from recalign.preprocessors.draws import Draws
from recalign.preprocessors.preprocessor import Batch, BatchFunction, Context, preprocessor
from recalign.preprocessors.settings import TaskSettings

_NEVER = -1e30
_CHOSEN = 1e30
_MOST_BITS = 26  # 64 MB
_UNPOPULAR = -1e6  # far below every log of a count: drawn only when no popular item is left


@dataclasses.dataclass(frozen=True)
class _Owned:
    """Which items are in a record's user's whole sequence."""

    pairs: tf.RaggedTensor  # int64 [records, (items)], record * items + item, ascending
    # bool [2**n], by the first n bits of a pair's hash: nearly all that are not among the pairs are
    # known by one look instead of a search.
    may_hold: tf.Tensor

    def holds(self, pair_BxT: tf.Tensor) -> tf.Tensor:
        """int64 [B, T] -> bool [B, T]: which pairs it has."""
        bits = int(self.may_hold.shape[0]).bit_length() - 1
        asked = tf.where(tf.gather(self.may_hold, _first_bits(pair_BxT, bits)))
        pair_A, pairs = tf.gather_nd(pair_BxT, asked), self.pairs.flat_values
        place_A = tf.minimum(tf.searchsorted(pairs, pair_A), tf.size(pairs) - 1)
        is_held_A = tf.equal(tf.gather(pairs, place_A), pair_A)
        return tf.scatter_nd(asked, is_held_A, tf.shape(pair_BxT, tf.int64))


def _first_bits(number: tf.Tensor, bits: int) -> tf.Tensor:
    """int64: the first bits of a product that mixes all of a number's (Knuth, 6.4)."""
    hashed = tf.cast(number, tf.uint64) * tf.constant(0x9E3779B97F4A7C15, tf.uint64)
    return tf.cast(tf.bitwise.right_shift(hashed, tf.constant(64 - bits, tf.uint64)), tf.int64)


@functools.lru_cache(64)
def _owned(dataset: PreparedDataset, split: str) -> _Owned:
    sequences, items = dataset.sequences(split), len(dataset.catalogue.train_counts)
    records = np.arange(len(sequences), dtype=np.int64)
    shown = np.repeat(records, np.diff(sequences.row_splits)) * items + sequences.items
    rest = np.repeat(records, np.diff(sequences.unseen_splits)) * items + sequences.unseen
    pairs = np.unique(np.concatenate([shown, rest]))
    splits = np.searchsorted(pairs, np.arange(len(records) + 1, dtype=np.int64) * items)
    bits = min((16 * len(pairs)).bit_length(), _MOST_BITS)
    may_hold = np.zeros(2**bits, bool)
    with tf.init_scope():
        may_hold[_first_bits(tf.constant(pairs), bits).numpy()] = True
        rows = tf.RaggedTensor.from_row_splits(pairs, splits, validate=False)
        return _Owned(rows, tf.constant(may_hold))


@functools.lru_cache(64)
def _popularity_tickets(dataset: PreparedDataset) -> tf.Tensor:
    return _tickets(dataset.catalogue.train_counts)


def _tickets(weight_I: np.ndarray) -> tf.Tensor:
    """int32 [sum of the weights]: each item as often as its weight says."""
    with tf.init_scope():
        return tf.constant(np.repeat(np.arange(len(weight_I)), weight_I), tf.int32)


class NegativeSampler:
    """Draws negatives by successive sampling without replacement.

    Each is drawn by weight from the items that are neither the user's nor drawn before. Independent
    draws with the repeats and the user's own thrown away have exactly that law, and are nearly
    always enough; where they are not, the rest is drawn by the Gumbel top-k method over all items
    that are left, which has that law too. Items of no weight come last of all.
    """

    def __init__(
        self, dataset: PreparedDataset, split: str, count: int, weights: np.ndarray | None = None
    ):
        """Prepares for `count` negatives of each record of a split.

        Weights are int64 [items]; None for the train counts, popularity.

        Raises:
            UserError: the catalogue is too small.
        """
        if weights is None:
            counts, self._tickets = dataset.catalogue.train_counts, _popularity_tickets(dataset)
        else:
            counts, self._tickets = weights, _tickets(weights)
        self._owned = _owned(dataset, split)
        largest = int(self._owned.pairs.row_lengths().numpy().max(initial=0))
        left = len(counts) - largest
        if left < count:
            raise UserError(
                f"dataset {dataset.name!r}: {count} negatives are asked for, but a user of "
                f"{split!r} has {largest} of the catalogue's {len(counts)} items, so {left} are "
                f"left: lower TaskSettings.candidate_pool to at most {left + 1}"
            )
        self._count = count
        self._items = len(counts)
        self._total = int(counts.sum())
        log = np.where(counts > 0, np.log(np.maximum(counts, 1)), _UNPOPULAR)
        with tf.init_scope():
            self._log_weight = tf.constant(log, tf.float32)
        self._tries = _tries(counts, self._owned.pairs.flat_values.numpy(), count)

    def __call__(self, record_B: tf.Tensor, draws: Draws) -> tf.Tensor:
        """int32 [B, count], in the order in which they were drawn.

        With train counts {A: 6, B: 3, C: 1, D: 0} and the user's own B, count = 2 mostly gives
        [A, C], sometimes [C, A]; count = 3 gives D last.
        """
        # Items of random interactions: independent draws by popularity.
        point_BxT = draws.uniform("negatives", self._tries) * float(self._total)
        drawn_BxT = tf.gather(self._tickets, tf.cast(point_BxT, tf.int64))
        pair_BxT = record_B[:, tf.newaxis] * self._items + tf.cast(drawn_BxT, tf.int64)
        fresh_BxT = tf.logical_not(self._owned.holds(pair_BxT) | _is_repeat(drawn_BxT))
        number_BxT = tf.cumsum(tf.cast(fresh_BxT, tf.int32), axis=1)
        chosen_BxT = fresh_BxT & (number_BxT <= self._count)
        negatives_BxN = tf.RaggedTensor.from_row_lengths(
            tf.boolean_mask(drawn_BxT, chosen_BxT),
            tf.minimum(number_BxT[:, -1], self._count),
            validate=False,
        ).to_tensor(shape=[None, self._count])
        lacking = tf.where(number_BxT[:, -1] < self._count)[:, 0]

        @tf.autograph.experimental.do_not_convert
        def completed() -> tf.Tensor:
            rest = self._complete(
                tf.gather(record_B, lacking),
                tf.gather(negatives_BxN, lacking),
                tf.gather(number_BxT[:, -1], lacking),
                Draws(draws.key, tf.gather(draws.position_B, lacking)),
            )
            return tf.tensor_scatter_nd_update(negatives_BxN, lacking[:, tf.newaxis], rest)

        return tf.cond(tf.size(lacking) > 0, completed, lambda: negatives_BxN)

    def _complete(
        self, record_B: tf.Tensor, begun_BxN: tf.Tensor, begun_B: tf.Tensor, draws: Draws
    ) -> tf.Tensor:
        """int32 [B, count]: the first `begun_B` of `begun_BxN` are kept, the rest drawn exactly."""
        uniform_BxI = draws.uniform("gumbel", self._items)
        gumbel_BxI = -tf.math.log(-tf.math.log(uniform_BxI + 2.0**-54))
        # Unpopular items differ by their Gumbel numbers alone, in the order of float64.
        score_BxI = tf.cast(self._log_weight, tf.float64) + gumbel_BxI
        own = tf.gather(self._owned.pairs, record_B)
        own_items = own.flat_values % self._items
        score_BxI = tf.tensor_scatter_nd_update(
            score_BxI,
            tf.stack([own.value_rowids(), own_items], axis=1),
            tf.fill(tf.shape(own_items), tf.constant(_NEVER, tf.float64)),
        )
        kept = tf.where(tf.range(self._count) < begun_B[:, tf.newaxis])
        kept_items = tf.cast(tf.gather_nd(begun_BxN, kept), tf.int64)
        score_BxI = tf.tensor_scatter_nd_update(
            score_BxI,
            tf.stack([kept[:, 0], kept_items], axis=1),
            _CHOSEN / tf.cast(kept[:, 1] + 1, tf.float64),
        )
        return tf.math.top_k(score_BxI, self._count).indices


Sampler = Callable[[Batch], tf.Tensor]
"""Gives the negatives of a batch, int32 [B, count], in the order in which they were drawn."""


def popular_negatives(context: Context, count: int) -> Sampler:
    """Draws by train popularity (paper, Appendix C)."""
    sampler = NegativeSampler(context.dataset, context.split, count)
    return lambda batch: sampler(batch["record"], context.draws(batch))


@gin.configurable(module="recalign")
def negative_sampler(sampler: Callable[[Context, int], Sampler] = popular_negatives) -> Callable:
    """How negatives are drawn; in gin `negative_sampler.sampler = @one_of_your_own`."""
    return sampler


def _pool(settings: TaskSettings) -> int:
    return settings.candidate_pool - 1


def _makes(count: int | None = None) -> dict[str, fields.FieldType]:
    return {"negatives": fields.items("list", _pool if count is None else count)}


@preprocessor(makes=_makes, needs=["record", "target"])
def negatives(context: Context, count: int | None = None) -> BatchFunction:
    """Items that the user never had, drawn by popularity unless gin says otherwise.

    With train counts {0: 6, 1: 3, 2: 1, 3: 0} and a user who has item 1, two negatives are mostly
    [0, 2], sometimes [2, 0]:

        {"record": [5], …} -> {"negatives": [[0, 2]], …}

    Makes `negatives` int32 [B, count]; a `count` of None is what a pool needs beside its target.
    """
    wanted = _pool(context.settings) if count is None else count
    try:
        sampler = negative_sampler()(context, wanted)
    except UserError as error:
        raise UserError(f"{context.task}: {error}") from error
    return lambda batch: batch | {"negatives": sampler(batch)}


def _is_repeat(item_BxT: tf.Tensor) -> tf.Tensor:
    """bool [B, T], True where the item stands in an earlier column.

    [[5, 8, 5, 5]] -> [[False, False, True, True]]
    """
    batch, tries = tf.shape(item_BxT, tf.int64)[0], item_BxT.shape[1]
    # Sorted with the column as low bits, an item that stood before is the next in the row.
    column_bits = (tries - 1).bit_length()
    key_BxT = tf.bitwise.left_shift(tf.cast(item_BxT, tf.int64), tf.constant(column_bits, tf.int64))
    key_BxT = tf.math.top_k(key_BxT + tf.range(tries, dtype=tf.int64), tries).values
    item_BxT = tf.bitwise.right_shift(key_BxT, tf.constant(column_bits, tf.int64))
    same_BxS = tf.equal(item_BxT[:, 1:], item_BxT[:, :-1])
    where = tf.where(same_BxS)
    column = tf.boolean_mask(key_BxT[:, :-1], same_BxS) % 2**column_bits
    return tf.scatter_nd(
        tf.stack([where[:, 0], column], axis=1),
        tf.ones_like(column, tf.bool),
        tf.stack([batch, tries]),
    )


def _tries(counts: np.ndarray, owned: np.ndarray, count: int) -> int:
    """How many independent draws nearly always hold `count` distinct items that are not owned.

    For a user who owns more of the popularity than 95 % of the others do, the expected yield is
    four standard deviations above `count`. At most eight for each negative: beyond, the exact
    completion is cheaper.
    """
    share = counts / max(1, counts.sum())
    records = owned // len(counts)
    mass = np.bincount(records, weights=share[owned % len(counts)])
    free = 1.0 - (np.quantile(mass, 0.95) if len(mass) else 0.0)
    tries = count + 4
    while tries < 8 * count:
        expected = float(np.sum(1.0 - (1.0 - share) ** tries)) * free
        if expected - 4.0 * np.sqrt(expected) * np.sqrt(1.0 - expected / tries) >= count:
            break
        tries = tries + max(1, tries // 8)
    return tries
