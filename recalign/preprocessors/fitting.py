"""Prompts that would be too long lose old history and long texts, never their question."""

from collections.abc import Callable

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
    least_BxP: tf.Tensor,
    end_BxP: tf.Tensor,
    cut_to: Callable[[tf.Tensor], tf.Tensor],
    budget: int,
) -> tf.Tensor:
    """int32 [B, P]: how many tokens of each phrase stay, the longest texts giving way first.

    With room for 9 tokens of texts, texts of 3, 8 and 9 tokens keep 3, 3 and 3 of them.

    Args:
        length_BxP: tokens of each phrase of a prompt; 0 for the ends.
        least_BxP: tokens that are never cut, without the ends'; all of what is no text.
        end_BxP: tokens of the end that stands next in the row where a text is cut.
        cut_to: where texts are cut of which so many tokens fit, int32 [B, P] -> [B, P]; 0 where
            cutting there would leave nothing.
        budget: tokens that fit.
    """
    over_B = tf.reduce_sum(length_BxP, axis=1) - budget

    @tf.autograph.experimental.do_not_convert
    def shortened() -> tf.Tensor:
        text_BxP = tf.maximum(length_BxP - least_BxP - end_BxP, 0)
        room_B = tf.reduce_sum(text_BxP, axis=1) - over_B
        cap_Bx1 = _level(text_BxP, tf.maximum(room_B, 0))[:, tf.newaxis]
        is_cut_BxP = (text_BxP > cap_Bx1) & (over_B > 0)[:, tf.newaxis]
        limit_BxP = tf.where(is_cut_BxP, least_BxP + cap_Bx1, 0)
        words_BxP = cut_to(limit_BxP)
        limit_BxP = tf.where(words_BxP >= tf.maximum(least_BxP, 1), words_BxP, limit_BxP)
        ended_BxP = tf.where(is_cut_BxP, end_BxP, 0)
        kept_BxP = tf.where(is_cut_BxP, limit_BxP, length_BxP)
        return kept_BxP + tf.pad(ended_BxP[:, :-1], [[0, 0], [1, 0]])

    return tf.cond(tf.reduce_any(over_B > 0), shortened, lambda: length_BxP)


def _level(amount_BxP: tf.Tensor, room_B: tf.Tensor) -> tf.Tensor:
    """int32 [B]: the largest level with sum(min(amount, level)) <= room.

    [[3, 8, 9]] with room for 9 gives [3]; with room for 13, [5]; unbounded where all fit.
    """
    sorted_BxP = tf.sort(amount_BxP, axis=1)
    spots = amount_BxP.shape[1]
    before_BxP = tf.cumsum(sorted_BxP, axis=1, exclusive=True)
    level_BxP = (room_B[:, tf.newaxis] - before_BxP) // tf.range(spots, 0, -1)
    binding_BxP = sorted_BxP > level_BxP
    highest_B = tf.reduce_max(tf.where(binding_BxP, level_BxP, -1), axis=1)
    return tf.where(tf.reduce_any(binding_BxP, axis=1), highest_B, _UNBOUNDED)
