"""Masked items (MIM) and corrupted spans of tokens (MLM)."""

import bisect
import dataclasses
import itertools

import seqio
import tensorflow as tf

from recalign.errors import UserError
from recalign.preprocessors import fields
from recalign.preprocessors.draws import Draws
from recalign.preprocessors.phrases import join
from recalign.preprocessors.preprocessor import Batch, BatchFunction, Context, Lengths, preprocessor
from recalign.preprocessors.settings import TaskSettings
from recalign.preprocessors.windows import ABSENT


def choose_masked(present_BxW: tf.Tensor, ratio: float, draws: Draws) -> tf.Tensor:
    """bool [B, w]: a random `ratio` of the items that are there, rounded, at least one.

    [[False, True, True, True, True, True]] with 0.2 masks one of the five.
    """
    present_B = tf.reduce_sum(tf.cast(present_BxW, tf.float64), axis=1)
    last_B = tf.maximum(_rounded(present_B * ratio), 1) - 1
    order_BxW = draws.order("masked items", present_BxW.shape[1])
    order_BxW = tf.where(present_BxW, order_BxW, tf.int64.max)
    largest_B = tf.gather(tf.sort(order_BxW, axis=1), last_B, axis=1, batch_dims=1)
    return present_BxW & (order_BxW <= largest_B[:, tf.newaxis])


def _rounded(value: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.floor(value + 0.5), tf.int32)


def sentinels(vocabulary: seqio.SentencePieceVocabulary) -> tuple[int, int]:
    """The token id of the first sentinel, and how many there are; their ids count down.

    T5's own file holds its sentinels as pieces; to others SeqIO adds them (extra_ids=100).
    """
    tokenizer = vocabulary.tokenizer
    first = tokenizer.PieceToId("▁<extra_id_0>")
    pieces = (tokenizer.IdToPiece(number) for number in range(first, -1, -1))
    same = (piece == f"▁<extra_id_{number}>" for number, piece in enumerate(pieces))
    return first, sum(itertools.takewhile(bool, same))


@dataclasses.dataclass(frozen=True)
class Corruption:
    """How much of a text is corrupted."""

    ratio: float  # share of the tokens, rounded, at least one token
    mean_span_length: float  # of the corrupted spans, in tokens
    most_spans: int  # number of sentinels that the vocabulary has

    def counts(self, length_B: tf.Tensor | int) -> tuple[tf.Tensor, tf.Tensor]:
        """int32 [B]: how many of the tokens are corrupted, and in how many spans.

        With 0.2, 3.0 and 100, 60 tokens have (12, 4).
        """
        noise_B = _rounded(tf.cast(length_B, tf.float64) * self.ratio)
        noise_B = tf.minimum(tf.maximum(noise_B, 1), length_B - 1)
        spans_B = tf.maximum(_rounded(tf.cast(noise_B, tf.float64) / self.mean_span_length), 1)
        for most in (noise_B, length_B - noise_B, self.most_spans):
            spans_B = tf.minimum(spans_B, most)
        return noise_B, spans_B


def longest_that_fits(inputs: int | None, targets: int | None, rule: Corruption) -> int | None:
    """The largest length up to which every corrupted text fits both budgets, EOS included."""
    if inputs is None and targets is None:
        return None

    def is_over(length: int) -> bool:
        noise, spans = map(int, rule.counts(length))
        is_over_targets = targets is not None and noise + spans + 1 > targets
        return is_over_targets or (inputs is not None and length - noise + spans + 1 > inputs)

    return 1 + bisect.bisect_left(range(2, 2**24), True, key=is_over)


def corrupted(
    tokens: tf.RaggedTensor, draws: Draws, rule: Corruption, first_sentinel: int
) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """Span corruption as in T5 (Raffel et al., 2020, section 3.1.4): inputs and targets.

    [[a, b, c, d, e, EOS]] -> [[a, b, S0, e, EOS]] and [[S0, c, d, EOS]]: the first sentinel S0 has
    the number `first_sentinel`, the following ones count down. A row starts with an uncorrupted
    span and ends with a corrupted one, as T5's do, so every span has a neighbour on its left; where
    the spans lie is otherwise uniform among all divisions into as many spans.

    Tokens are int32 [B, (n + 1)], each row ending with EOS and at least 2 tokens long before it.
    """
    length_B = tf.cast(tokens.row_lengths(), tf.int32) - 1
    noise_B, spans_B = rule.counts(length_B)
    most = tf.reduce_max(spans_B)
    kept_ends_BxS = _random_ends(length_B - noise_B, spans_B, most, draws, "kept spans")
    noise_ends_BxS = _random_ends(noise_B, spans_B, most, draws, "corrupted spans")
    begin_BxS = kept_ends_BxS + tf.pad(noise_ends_BxS[:, :-1], [[0, 0], [1, 0]])
    end_BxS = kept_ends_BxS + noise_ends_BxS
    last_end_BxS = tf.pad(end_BxS[:, :-1], [[0, 0], [1, 0]])

    # Both sides are pieces of the text and sentinels in turn, and EOS. Spans that a row does not
    # have are empty pieces.
    text_Bx1 = tf.cast(tokens.row_starts(), tf.int32)[:, tf.newaxis]
    sentinel_S = tf.range(most)
    pool = tf.concat([tokens.flat_values, first_sentinel - sentinel_S], axis=0)
    sentinel_BxS = tf.size(tokens.flat_values) + sentinel_S + tf.zeros_like(begin_BxS)
    is_real_BxS = tf.cast(sentinel_S < spans_B[:, tf.newaxis], tf.int32)
    eos = (text_Bx1 + length_B[:, tf.newaxis], tf.ones_like(text_Bx1))
    kept = (text_Bx1 + last_end_BxS, begin_BxS - last_end_BxS)
    noise = (text_Bx1 + begin_BxS, end_BxS - begin_BxS)
    sentinel = (sentinel_BxS, is_real_BxS)
    return _joined(pool, kept, sentinel, eos), _joined(pool, sentinel, noise, eos)


def _joined(pool: tf.Tensor, *pieces: tuple[tf.Tensor, tf.Tensor]) -> tf.RaggedTensor:
    """int32 [B, (tokens)]: pieces of two kinds in turn, and the end.

    A kind of piece is where each starts in the pool of tokens and how long it is, int32 [B, S].
    """
    start_BxP, length_BxP = (
        tf.concat([tf.reshape(tf.stack([one, other], axis=2), [tf.shape(one)[0], -1]), end], axis=1)
        for one, other, end in zip(*pieces, strict=True)
    )
    return join(pool, start_BxP, length_BxP)


def _random_ends(
    total_B: tf.Tensor, parts_B: tf.Tensor, most: tf.Tensor, draws: Draws, purpose: str
) -> tf.Tensor:
    """int32 [B, most]: where the parts end when `total` is divided at random, none of them empty.

    A total of 7 in 3 parts may give [2, 3, 7]; all divisions are equally likely. Columns after the
    last part repeat the total.
    """
    width = tf.reduce_max(total_B)
    order_BxT = draws.order(purpose, width)
    inner_BxT = tf.range(1, width + 1) < total_B[:, tf.newaxis]
    order_BxT = tf.where(inner_BxT, order_BxT, -1)
    cuts_BxS = tf.math.top_k(order_BxT, tf.minimum(most, width)).indices + 1
    chosen_BxS = tf.range(tf.shape(cuts_BxS)[1]) < parts_B[:, tf.newaxis] - 1
    return tf.sort(tf.where(chosen_BxS, cuts_BxS, total_B[:, tf.newaxis]), axis=1)


# Preprocessors ------------------------------------------------------------------------------------


def _most_masked(settings: TaskSettings) -> int:
    return max(1, int(settings.history_length * settings.masking_ratio + 0.5))


@preprocessor(
    makes={
        "masked_history": fields.window(masked=True),
        "masked": dataclasses.replace(fields.items("items", _most_masked), dropped=True),
    },
    needs=["history"],
)
def mask_items(context: Context) -> BatchFunction:
    """Masks a fifth of the history's items (MIM, section 3.1.1).

    With five items in the catalogue, so that 5 stands for the mask,

        {"history": [[-1, 4, 2, 0]]} -> {"masked_history": [[-1, 4, 5, 0]], "masked": [[2]], …}

    Masked items that the targets have no room for are shown instead, the oldest first.

    Makes `masked_history` int32 [B, w] and `masked` [B, m], which begins with -1 where fewer are.
    """
    ratio, room = context.settings.masking_ratio, context.lengths["targets"]
    mask = len(context.dataset.catalogue.ids)
    most = _most_masked(context.settings)

    def add(batch: Batch) -> Batch:
        history_BxW = batch["history"]
        width = history_BxW.shape[1]
        masked_BxW = choose_masked(history_BxW >= 0, ratio, context.draws(batch))
        column_BxM = tf.sort(
            tf.math.top_k(tf.where(masked_BxW, tf.range(width), ABSENT), most).values, axis=1
        )
        item_BxM = tf.gather(history_BxW, tf.maximum(column_BxM, 0), axis=1, batch_dims=1)
        item_BxM = tf.where(column_BxM >= 0, item_BxM, ABSENT)
        shown = batch | {"masked": item_BxM}
        keep_BxM = context.layout.targets.keep("masked", shown, room)
        first_B = tf.reduce_min(tf.where(keep_BxM, column_BxM, width), axis=1)
        masked_BxW &= tf.range(width) >= first_B[:, tf.newaxis]
        return shown | {
            "masked": tf.where(keep_BxM, item_BxM, ABSENT),
            "masked_history": tf.where(masked_BxW, mask, history_BxW),
        }

    return add


def _rule(context: Context) -> Corruption:
    settings = context.settings
    _, count = sentinels(context.layout.vocabulary)
    if not count:
        raise UserError(f"{context.task}: the vocabulary has no sentinels (extra_ids)")
    return Corruption(settings.masking_ratio, settings.mean_span_length, count)


def _text_room(context: Context) -> Lengths:
    """How long a text may be, so that whatever is cut out of it fits."""
    rule, lengths, need = _rule(context), context.lengths, context.layout.inputs.least
    longest = longest_that_fits(lengths["inputs"], lengths["targets"], rule)
    if longest is None or longest + 1 >= need:
        return {"inputs": None if longest is None else longest + 1, "targets": None}
    noise, spans = map(int, rule.counts(need - 1))
    raise UserError(
        f"{context.task}: {lengths['inputs']} tokens of inputs and {lengths['targets']} of targets "
        f"are too few: {need - noise + spans} and {noise + spans + 1} are needed for one item: set "
        "TASK_FEATURE_LENGTHS"
    )


@preprocessor(
    makes={"inputs": fields.NUMBER, "targets": fields.NUMBER}, needs=["inputs"], room=_text_room
)
def corrupt_spans(context: Context) -> BatchFunction:
    """Spans of the text's tokens, a fifth of them, give way to sentinels (MLM, section 3.1.2).

    With S0 for the first sentinel and E for the end of sequence,

        {"inputs": [[a, b, c, d, e, E]]} ->
        {"inputs": [[a, b, S0, e, E]], "targets": [[S0, c, d, E]]}

    Makes `inputs` and `targets`, int32 [B, (tokens)].
    """
    rule = _rule(context)
    first_sentinel, _ = sentinels(context.layout.vocabulary)

    def add(batch: Batch) -> Batch:
        inputs, targets = corrupted(batch["inputs"], context.draws(batch), rule, first_sentinel)
        return batch | {"inputs": inputs, "targets": targets}

    return add
