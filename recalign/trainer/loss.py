"""The training loss: T5X's cross entropy with z-loss, summed over the target tokens."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

# What LOSS_NORMALIZING_FACTOR may be besides None and a number (T5X's names).
NORMALIZERS = ("NUM_REAL_TARGET_TOKENS", "NUM_TOTAL_TARGET_TOKENS")


class LossParts(NamedTuple):
    """Sums over the target tokens of a batch, padding left out."""

    loss: Float[Array, ""]
    z_loss: Float[Array, ""]
    correct: Float[Array, ""]
    tokens: Float[Array, ""]


def cross_entropy(
    logits_BxTxV: Float[Array, "B T V"],
    targets_BxT: Int[Array, "B T"],
    z_loss: float = 0.0,
    label_smoothing: float = 0.0,
) -> LossParts:
    """Cross entropy plus `z_loss * log(Z)^2`, where Z is the softmax's normaliser.

    The z-loss keeps logits from drifting away from zero (T5X: `losses.py`). With label smoothing
    the entropy of the smoothed target is taken off, so that a perfect prediction costs nothing.
    """
    logits_BxTxV = logits_BxTxV.astype(jnp.float32)
    vocabulary_size = logits_BxTxV.shape[-1]
    log_normalizer_BxT = jax.nn.logsumexp(logits_BxTxV, axis=-1)
    target_logits_BxT = jnp.take_along_axis(logits_BxTxV, targets_BxT[..., None], axis=-1)[..., 0]
    loss_BxT = log_normalizer_BxT - target_logits_BxT
    if label_smoothing > 0.0:
        confidence = 1.0 - label_smoothing
        other = label_smoothing / (vocabulary_size - 1)
        all_losses_BxT = vocabulary_size * log_normalizer_BxT - jnp.sum(logits_BxTxV, axis=-1)
        entropy = -(
            confidence * jnp.log(confidence)
            + (vocabulary_size - 1) * other * jnp.log(other + 1e-20)
        )
        loss_BxT = (confidence - other) * loss_BxT + other * all_losses_BxT - entropy
    z_loss_BxT = z_loss * jnp.square(log_normalizer_BxT)
    weights_BxT = (targets_BxT > 0).astype(jnp.float32)
    correct_BxT = jnp.argmax(logits_BxTxV, axis=-1) == targets_BxT
    return LossParts(
        loss=jnp.sum((loss_BxT + z_loss_BxT) * weights_BxT),
        z_loss=jnp.sum(z_loss_BxT * weights_BxT),
        correct=jnp.sum(correct_BxT * weights_BxT),
        tokens=jnp.sum(weights_BxT),
    )


def normalizer(
    factor: float | str | None, targets_BxT: Int[Array, "B T"]
) -> Float[Array, ""] | float:
    """What the summed loss of a batch is divided by (T5X: LOSS_NORMALIZING_FACTOR).

    None, T5X's default, divides by nothing: Adafactor's updates do not depend on the loss's scale.
    """
    if factor is None:
        return 1.0
    if factor == "NUM_REAL_TARGET_TOKENS":
        return jnp.maximum(jnp.sum(targets_BxT > 0), 1).astype(jnp.float32)
    if factor == "NUM_TOTAL_TARGET_TOKENS":
        return float(targets_BxT.size)
    return float(factor)
