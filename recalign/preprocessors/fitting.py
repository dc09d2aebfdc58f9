"""Prompts that would be too long lose old history and long titles, never their question."""

from collections.abc import Sequence

import tensorflow as tf

from recalign.preprocessors.phrases import PhraseTable

_UNBOUNDED = 2**30


def keep_recent(cost_BxW: tf.Tensor, fixed_B: tf.Tensor, budget: int | None) -> tf.Tensor:
    """bool [B, w]: which columns stay when the oldest leave until the rest fits.

    The last column always stays. With a budget of 10, of which 3 are fixed, the costs
    [[4, 2, 5]] keep [[False, True, True]].
    """
    if budget is None:
        return tf.ones_like(cost_BxW, tf.bool)
    over_B = fixed_B + tf.reduce_sum(cost_BxW, axis=1) - budget
    freed_before_BxW = tf.cumsum(cost_BxW, axis=1, exclusive=True)
    keep_BxW = freed_before_BxW >= over_B[:, tf.newaxis]
    return tf.concat([keep_BxW[:, :-1], tf.ones_like(keep_BxW[:, -1:])], axis=1)


def shorten_titles(
    table: PhraseTable,
    phrase_BxP: tf.Tensor,
    spots: Sequence[tuple[int, int | None]],
    budget: int | None,
) -> tf.Tensor:
    """int32 [B, P]: how many tokens of each phrase stay, the longest titles giving way first.

    Args:
        table: the phrases.
        phrase_BxP: phrase numbers of the whole prompt.
        spots: the columns whose titles may be cut, each with the column that then ends it (its
            phrase counts only after a cut), or None where nothing does.
        budget: tokens that fit; None for any number.

    With room for 9 tokens of titles, titles of 3, 8 and 9 tokens keep 3, 3 and 3 of them; cuts are
    between words.
    """
    length_BxP = table.tokens_in(phrase_BxP)
    ends = [end for _, end in spots if end is not None]
    if ends:
        counts = tf.reduce_sum(tf.one_hot(ends, phrase_BxP.shape[1], dtype=tf.int32), axis=0)
        length_BxP = length_BxP * (1 - counts)
    if budget is None or not spots:
        return length_BxP
    over_B = tf.reduce_sum(length_BxP, axis=1) - budget
    return tf.cond(
        tf.reduce_any(over_B > 0),
        lambda: _shortened(table, phrase_BxP, length_BxP, spots, over_B),
        lambda: length_BxP,
    )


def _shortened(
    table: PhraseTable,
    phrase_BxP: tf.Tensor,
    length_BxP: tf.Tensor,
    spots: Sequence[tuple[int, int | None]],
    over_B: tf.Tensor,
) -> tf.Tensor:
    columns = [column for column, _ in spots]
    has_end = tf.constant([end is not None for _, end in spots])
    phrase_BxK = tf.gather(phrase_BxP, columns, axis=1)
    whole_BxK = tf.gather(length_BxP, columns, axis=1)
    end_length = int(table.lengths[table.shortened_end])
    bare_BxK = table.bare_tokens_in(phrase_BxK)
    least_BxK = bare_BxK + tf.where(has_end, end_length, 0)
    title_BxK = tf.maximum(whole_BxK - least_BxK, 0)
    room_B = tf.reduce_sum(title_BxK, axis=1) - over_B
    cap_Bx1 = _level(title_BxK, tf.maximum(room_B, 0))[:, tf.newaxis]
    cut_BxK = (title_BxK > cap_Bx1) & (over_B > 0)[:, tf.newaxis]
    limit_BxK = tf.where(cut_BxK, bare_BxK + cap_Bx1, 0)
    kept_BxK = tf.where(cut_BxK, table.cut_to(phrase_BxK, limit_BxK), whole_BxK)
    end_BxK = tf.where(cut_BxK, end_length, 0)
    result = tf.unstack(length_BxP, axis=1)
    for number, (column, end) in enumerate(spots):
        result[column] = kept_BxK[:, number]
        if end is not None:
            result[end] = end_BxK[:, number]
    return tf.stack(result, axis=1)


def _level(amount_BxK: tf.Tensor, room_B: tf.Tensor) -> tf.Tensor:
    """int32 [B]: the largest level with sum(min(amount, level)) <= room.

    [[3, 8, 9]] with room for 9 gives [3]; with room for 13, [5]; unbounded where all fit.
    """
    sorted_BxK = tf.sort(amount_BxK, axis=1)
    spots = amount_BxK.shape[1]
    before_BxK = tf.cumsum(sorted_BxK, axis=1, exclusive=True)
    level_BxK = (room_B[:, tf.newaxis] - before_BxK) // tf.range(spots, 0, -1)
    binding_BxK = sorted_BxK > level_BxK
    highest_B = tf.reduce_max(tf.where(binding_BxK, level_BxK, -1), axis=1)
    return tf.where(tf.reduce_any(binding_BxK, axis=1), highest_B, _UNBOUNDED)
