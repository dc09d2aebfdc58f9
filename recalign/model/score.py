"""Exact scores of given candidates, beside beam search, which prunes and may lose one.

Shape letters as in `recalign.model.network`; C candidates an example, P of them in a part, K beams:
1 for all, or one for each.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from recalign.model.contest import Contest
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
    contest: Contest | None = None,
) -> Float[Array, "B C"]:
    """The log-probability of each candidate, in the order of the candidates, by teacher forcing.

    A pure function, to be jitted with `network` static; another pool of the same size compiles
    nothing. Inputs are encoded once, and the beginning that all sequences of the trie share (the
    "I" of I1, I2, …) is read once an example instead of once a candidate. A large pool is scored
    in parts, the longest candidates together, so that few parts read the positions of few.

    Args:
      params, network: the model.
      encoder_input_tokens_BxL: inputs, padded on the right with 0.
      trie: of a catalogue's IDs, or of any other answers: `Trie.from_sequences([yes, no])`.
      candidates_BxC: indices into the sequences that the trie was made of, filled up with -1. One
        row serves all examples ([[0, 1]] for yes and no).
      contest: leaves out candidates that cannot be among the likeliest items, and does not score
        its beams' items again; None scores all.

    Returns the natural logarithm of the probability of all tokens, EOS included, normalised over
    the whole vocabulary; `decode.NO_BEAM` (-1e7) for -1 and for a candidate that is left out.
    """
    B, C = encoder_input_tokens_BxL.shape[0], candidates_BxC.shape[1]
    parts = -(-C // _MOST_AT_ONCE)
    P = -(-C // parts)
    fillers = ((0, 0), (0, parts * P - C))
    given_BxC = jnp.pad(jnp.broadcast_to(candidates_BxC, (B, C)), fillers, constant_values=-1)
    tokens_BxCxT = trie.tokens(given_BxC)
    memory, cache = network.start(params, encoder_input_tokens_BxL, P, trie.depth)
    known_BxC = prior_BxC = jnp.full((B, parts * P), NO_BEAM)
    least_B = known_BxC[:, 0]
    if contest is not None:
        prior_BxC = jnp.pad(contest.log_prior_BxC, fillers, constant_values=NO_BEAM)
        known_BxC, least_B = contest.meet(tokens_BxCxT, prior_BxC)
        tokens_BxCxT = jnp.where(known_BxC[..., None] > NO_BEAM, 0, tokens_BxCxT)

    def is_wanted(tokens_BxCxT: Array, log_probs_BxC: Array, prior_BxC: Array) -> Array:
        given_BxC = tokens_BxCxT[..., 0] > 0
        if contest is None:
            return given_BxC
        return given_BxC & contest.can_enter(log_probs_BxC, prior_BxC, least_B)

    def add_position(
        position: Int[Array, ""],
        scored: tuple[Any, Array],
        tokens_BxCxT: Array,
        read_BxKxT: Array,
        wanted_BxC: Bool[Array, "B C"] | None = None,
    ) -> tuple[Any, Array]:
        cache, log_probs_BxC = scored
        read_BxK, target_BxC = read_BxKxT[..., position], tokens_BxCxT[..., position]
        is_added_BxC = target_BxC > 0
        wanted: tuple[Array, ...] = ()  # without a contest a network's own method need not know it
        if wanted_BxC is not None:
            is_added_BxC &= wanted_BxC
            wanted = (is_added_BxC,)
        next_BxKxM = target_BxC.reshape(*read_BxK.shape, -1)
        at_target, cache = network.step_log_probs(
            params, memory, cache, read_BxK, position, next_BxKxM, *wanted
        )
        at_target = at_target.reshape(target_BxC.shape)
        return cache, log_probs_BxC + jnp.where(is_added_BxC, at_target, 0.0)

    # What is read while there is one beam; fillers have no tokens, hence the largest.
    read_Bx1xT = jnp.max(shift_right(tokens_BxCxT), axis=1, keepdims=True)
    scored = (cache, jnp.zeros(tokens_BxCxT.shape[:2]))
    for position in range(trie.shared_prefix + 1):
        scored = add_position(jnp.asarray(position), scored, tokens_BxCxT, read_Bx1xT)
    cache, log_probs_BxC = scored
    cache = network.reorder(cache, jnp.zeros((B, P), jnp.int32))
    left_BxC = jnp.sum(tokens_BxCxT > 0, axis=-1)
    left_BxC = jnp.where(is_wanted(tokens_BxCxT, log_probs_BxC, prior_BxC), left_BxC, 0)
    longest_first_BxC = jnp.argsort(-left_BxC)

    def score_part(part: tuple[Array, Array, Array, Array]) -> Array:
        tokens_BxPxT, log_probs_BxP, prior_BxP, left_BxP = part

        def add(position: Array, scored: tuple[Any, Array]) -> tuple[Any, Array]:
            wanted_BxP = is_wanted(tokens_BxPxT, scored[1], prior_BxP) if contest else None
            return add_position(
                position, scored, tokens_BxPxT, shift_right(tokens_BxPxT), wanted_BxP
            )

        _, log_probs_BxP = jax.lax.fori_loop(
            trie.shared_prefix + 1, jnp.max(left_BxP), add, (cache, log_probs_BxP)
        )
        return jnp.where(is_wanted(tokens_BxPxT, log_probs_BxP, prior_BxP), log_probs_BxP, NO_BEAM)

    def split(x_BxCx: Array) -> Array:
        order = longest_first_BxC.reshape(B, -1, *[1] * (x_BxCx.ndim - 2))
        x_BxCx = jnp.take_along_axis(x_BxCx, order, axis=1)
        return jnp.moveaxis(x_BxCx.reshape(B, parts, P, *x_BxCx.shape[2:]), 1, 0)

    candidates = (tokens_BxCxT, log_probs_BxC, prior_BxC, left_BxC)
    log_probs = jax.lax.map(score_part, jax.tree.map(split, candidates))
    log_probs_BxC = jnp.moveaxis(log_probs, 0, 1).reshape(B, -1)
    as_given_BxC = jnp.argsort(longest_first_BxC)
    log_probs_BxC = jnp.take_along_axis(log_probs_BxC, as_given_BxC, axis=1)
    return jnp.maximum(log_probs_BxC, known_BxC)[:, :C]
