"""Prompts that would be too long lose old history and long texts, never their question."""

from collections.abc import Callable, Sequence

import tensorflow as tf

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


def shorten(
    length_BxP: tf.Tensor,
    columns: Sequence[int],
    ends: Sequence[int | None],
    least_BxK: tf.Tensor,
    end_length: int,
    cut_to: Callable[[tf.Tensor], tf.Tensor],
    budget: int,
) -> tf.Tensor:
    """int32 [B, P]: how many tokens of each phrase stay, the longest texts giving way first.

    With room for 9 tokens of texts, texts of 3, 8 and 9 tokens keep 3, 3 and 3 of them.

    Args:
        length_BxP: tokens of each phrase of a prompt; 0 for the ends.
        columns: K of them, that may be cut.
        ends: the columns that then end them, or None where nothing does.
        least_BxK: tokens that are never cut, without the ends'.
        end_length: tokens of an end.
        cut_to: where texts are cut of which so many tokens fit, int32 [B, K] -> [B, K]; 0 where
            cutting there would leave nothing.
        budget: tokens that fit.
    """
    over_B = tf.reduce_sum(length_BxP, axis=1) - budget

    @tf.autograph.experimental.do_not_convert
    def shortened() -> tf.Tensor:
        end_K = tf.constant([0 if end is None else end_length for end in ends])
        whole_BxK = tf.gather(length_BxP, columns, axis=1)
        text_BxK = tf.maximum(whole_BxK - least_BxK - end_K, 0)
        room_B = tf.reduce_sum(text_BxK, axis=1) - over_B
        cap_Bx1 = _level(text_BxK, tf.maximum(room_B, 0))[:, tf.newaxis]
        is_cut_BxK = (text_BxK > cap_Bx1) & (over_B > 0)[:, tf.newaxis]
        limit_BxK = tf.where(is_cut_BxK, least_BxK + cap_Bx1, 0)
        words_BxK = cut_to(limit_BxK)
        limit_BxK = tf.where(words_BxK >= tf.maximum(least_BxK, 1), words_BxK, limit_BxK)
        kept_BxK = tf.where(is_cut_BxK, limit_BxK, whole_BxK)
        result = tf.unstack(length_BxP, axis=1)
        for number, (column, end) in enumerate(zip(columns, ends, strict=True)):
            result[column] = kept_BxK[:, number]
            if end is not None:
                result[end] = tf.where(is_cut_BxK[:, number], end_length, 0)
        return tf.stack(result, axis=1)

    return tf.cond(tf.reduce_any(over_B > 0), shortened, lambda: length_BxP)


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
