"""Exact scores of given candidates, beside beam search, which prunes and may lose one.

Shape letters as in `recalign.model.network`; C candidates an example, P of them in a part, K beams:
1 for all, or one for each.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from recalign.model.decode import NO_BEAM
from recalign.model.network import Network, shift_right
from recalign.model.trie import Trie

# Candidates that are scored at once: their cache is in memory together, and off a CPU their logits.
_MOST_AT_ONCE = 20


def score_candidates(
    params: Any,
    network: Network,
    encoder_input_tokens_BxL: Int[Array, "B L"],
    trie: Trie,
    candidates_BxC: Int[Array, "#B C"],
) -> Float[Array, "B C"]:
    """The log-probability of each candidate, in the order of the candidates, by teacher forcing.

    A pure function, to be jitted with `network` static; another pool of the same size compiles
    nothing. Inputs are encoded once, and the beginning that all sequences of the trie share (the
    "I" of I1, I2, …) is read once an example instead of once a candidate. A large pool is scored
    in parts, the longest candidates together, so that few parts read the positions of few.

    Args:
      params: parameters of the network.
      network: that scores.
      encoder_input_tokens_BxL: inputs, padded on the right with 0.
      trie: of a catalogue's IDs, or of any other answers: `Trie.from_sequences([yes, no])`.
      candidates_BxC: indices into the sequences that the trie was made of, filled up with -1. One
        row serves all examples ([[0, 1]] for yes and no).

    Returns:
      The natural logarithm of the probability of all tokens, EOS included, normalised over the
      whole vocabulary; `decode.NO_BEAM` (-1e7) for -1.
    """
    B, C = encoder_input_tokens_BxL.shape[0], candidates_BxC.shape[1]
    parts = -(-C // _MOST_AT_ONCE)
    P = -(-C // parts)
    fillers = ((0, 0), (0, parts * P - C))
    given_BxC = jnp.pad(jnp.broadcast_to(candidates_BxC, (B, C)), fillers, constant_values=-1)
    tokens_BxCxT = trie.tokens(given_BxC)
    longest_first_BxC = jnp.argsort(-jnp.sum(tokens_BxCxT > 0, axis=-1))
    tokens_BxCxT = jnp.take_along_axis(tokens_BxCxT, longest_first_BxC[..., None], axis=1)
    memory, cache = network.start(params, encoder_input_tokens_BxL, P, trie.depth)

    def add_position(
        position: Int[Array, ""],
        scored: tuple[Any, Array],
        tokens_BxCxT: Array,
        read_BxKxT: Array,
    ) -> tuple[Any, Array]:
        cache, log_probs_BxC = scored
        read_BxK, target_BxC = read_BxKxT[..., position], tokens_BxCxT[..., position]
        at_target, cache = network.step_log_probs(
            params, memory, cache, read_BxK, position, target_BxC.reshape(*read_BxK.shape, -1)
        )
        at_target = at_target.reshape(target_BxC.shape)
        return cache, log_probs_BxC + jnp.where(target_BxC > 0, at_target, 0.0)

    # What is read while there is one beam; fillers have no tokens, hence the largest.
    read_Bx1xT = jnp.max(shift_right(tokens_BxCxT), axis=1, keepdims=True)
    scored = (cache, jnp.zeros(tokens_BxCxT.shape[:2]))
    for position in range(trie.shared_prefix + 1):
        scored = add_position(jnp.asarray(position), scored, tokens_BxCxT, read_Bx1xT)
    cache, log_probs_BxC = scored
    cache = network.reorder(cache, jnp.zeros((B, P), jnp.int32))

    def score_part(part: tuple[Array, Array]) -> Array:
        tokens_BxPxT, log_probs_BxP = part
        _, log_probs_BxP = jax.lax.fori_loop(
            trie.shared_prefix + 1,
            jnp.max(jnp.sum(tokens_BxPxT > 0, axis=-1)),
            functools.partial(
                add_position, tokens_BxCxT=tokens_BxPxT, read_BxKxT=shift_right(tokens_BxPxT)
            ),
            (cache, log_probs_BxP),
        )
        return log_probs_BxP

    def split(x_BxCx: Array) -> Array:
        return jnp.moveaxis(x_BxCx.reshape(B, parts, P, *x_BxCx.shape[2:]), 1, 0)

    log_probs = jax.lax.map(score_part, (split(tokens_BxCxT), split(log_probs_BxC)))
    log_probs_BxC = jnp.moveaxis(log_probs, 0, 1).reshape(B, -1)
    log_probs_BxC = jnp.where(tokens_BxCxT[..., 0] > 0, log_probs_BxC, NO_BEAM)
    as_given_BxC = jnp.argsort(longest_first_BxC)[:, :C]
    return jnp.take_along_axis(log_probs_BxC, as_given_BxC, axis=1)
