"""Log-probabilities of some next tokens, without keeping the logits of all.

Shape letters as in `recalign.model.network`; D width of the decoder's output, M wanted tokens.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# Rows whose logits a CPU's caches hold. Logits of all beams of a batch would be written to memory
# and read back, which takes two to three times as long as their matrix product.
_ROWS_IN_CACHE = 128
# Where few rows are wanted of a small batch, parts are smaller: so many hold all of its rows.
_LEAST_PARTS = 4


def log_probs_at(
    logits: Float[Array, "*rows V"], tokens: Int[Array, "*rows M"]
) -> Float[Array, "*rows M"]:
    """log_softmax at these tokens alone, in its own order of operations."""
    largest = jnp.max(logits, axis=-1, keepdims=True)
    log_sum = jnp.log(jnp.sum(jnp.exp(logits - largest), axis=-1, keepdims=True))
    return (jnp.take_along_axis(logits, tokens, axis=-1) - largest) - log_sum


def log_probs_of_hidden(
    logits_of: Callable[[Float[Array, "... D"]], Float[Array, "... V"]],
    hidden_BxKxD: Float[Array, "B K D"],
    tokens_BxKxM: Int[Array, "B K M"],
    wanted_BxK: Bool[Array, "B K"] | None = None,
) -> Float[Array, "B K M"]:
    """The same of `logits_of(hidden)`; a CPU computes it in parts that its caches hold.

    Rows that are not wanted have any value: a CPU leaves them out.
    """
    B, K, M = tokens_BxKxM.shape

    def at_once(hidden: Float[Array, "... D"], tokens: Int[Array, "... M"]) -> Array:
        return log_probs_at(logits_of(hidden), tokens)

    def in_parts(hidden_BxKxD: Array, tokens_BxKxM: Array) -> Array:
        hidden, tokens = hidden_BxKxD.reshape(B * K, -1), tokens_BxKxM.reshape(B * K, M)
        parts = -(-B * K // _ROWS_IN_CACHE)
        rows = -(-B * K // parts)
        if parts == 1:
            return at_once(hidden, tokens).reshape(B, K, M)

        def split(x: Array) -> Array:
            filled = jnp.pad(x, ((0, parts * rows - B * K), (0, 0)))
            # A part takes rows from everywhere: where examples are spread, each device has some.
            return filled.reshape(rows, parts, -1).swapaxes(0, 1)

        found = jax.lax.map(lambda part: at_once(*part), (split(hidden), split(tokens)))
        return found.swapaxes(0, 1).reshape(parts * rows, M)[: B * K].reshape(B, K, M)

    def of_wanted(hidden_BxKxD: Array, tokens_BxKxM: Array, wanted_BxK: Array) -> Array:
        hidden, tokens = hidden_BxKxD.reshape(B * K, -1), tokens_BxKxM.reshape(B * K, M)
        rows = min(_ROWS_IN_CACHE, -(-B * K // _LEAST_PARTS))
        order = jnp.argsort(~wanted_BxK.reshape(-1))  # the wanted ones first
        order = jnp.pad(order, (0, -len(order) % rows))

        def add_part(part: Int[Array, ""], found: Array) -> Array:
            at = jax.lax.dynamic_slice_in_dim(order, part * rows, rows)
            return found.at[at].set(at_once(hidden[at], tokens[at]))

        parts = (jnp.sum(wanted_BxK) + rows - 1) // rows
        found = jax.lax.fori_loop(0, parts, add_part, jnp.zeros((B * K, M)))
        return found.reshape(B, K, M)

    if wanted_BxK is not None:
        of_all = lambda hidden, tokens, wanted: at_once(hidden, tokens)  # noqa: E731
        found: Array = jax.lax.platform_dependent(
            hidden_BxKxD, tokens_BxKxM, wanted_BxK, cpu=of_wanted, default=of_all
        )
        return found
    log_probs: Array = jax.lax.platform_dependent(
        hidden_BxKxD, tokens_BxKxM, cpu=in_parts, default=at_once
    )
    return log_probs
