"""Exact scores of given candidates, beside beam search, which prunes and may lose one.

Shape letters as in `recalign.model.layers`; C candidates an example, K beams: 1 or C.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from recalign.model import incremental
from recalign.model.config import T5Config
from recalign.model.decode import NO_BEAM
from recalign.model.network import Transformer, run
from recalign.model.trie import Trie


def score_candidates(
    params: dict,
    config: T5Config,
    encoder_input_tokens_BxL: Int[Array, "B L"],
    trie: Trie,
    candidates_BxC: Int[Array, "#B C"],
) -> Float[Array, "B C"]:
    """The log-probability of each candidate, in the order of the candidates, by teacher forcing.

    A pure function, to be jitted with `config` static; another pool of the same size compiles
    nothing. Inputs are encoded once, and the beginning that all sequences of the trie share (the
    "I" of I1, I2, …) is read once an example instead of once a candidate.

    Args:
      params: parameters of `Transformer`.
      config: of the model.
      encoder_input_tokens_BxL: inputs, padded on the right with 0.
      trie: of a catalogue's IDs, or of any other answers: `Trie.from_sequences([yes, no])`.
      candidates_BxC: indices into the sequences that the trie was made of, filled up with -1. One
        row serves all examples ([[0, 1]] for yes and no).

    Returns:
      The natural logarithm of the probability of all tokens, EOS included, normalised over the
      whole vocabulary; `decode.NO_BEAM` (-1e7) for -1.
    """
    B, C = encoder_input_tokens_BxL.shape[0], candidates_BxC.shape[1]
    tokens_BxCxT = trie.tokens(jnp.broadcast_to(candidates_BxC, (B, C)))
    T = trie.depth
    memory = incremental.prepare(params, config, encoder_input_tokens_BxL, T)
    read_TxBxC = jnp.pad(jnp.moveaxis(tokens_BxCxT, 2, 0)[:-1], ((1, 0), (0, 0), (0, 0)))
    # What is read while there is one beam; fillers have no tokens, hence the largest.
    shared_TxBx1 = jnp.max(read_TxBxC, axis=2, keepdims=True)

    def add_position(
        position: Int[Array, ""], scored: tuple[incremental.Cache, Array], read_TxBxK: Array
    ) -> tuple[incremental.Cache, Array]:
        cache, log_probs_BxC = scored
        hidden_BxKxD, cache = incremental.step(
            params, config, memory, read_TxBxK[position], cache, position
        )
        logits_BxKxV = run(Transformer(config), params, hidden_BxKxD, method="logits")
        K = logits_BxKxV.shape[1]
        target_BxC = tokens_BxCxT[:, :, position]
        at_target = jnp.take_along_axis(logits_BxKxV, target_BxC.reshape(B, K, -1), axis=-1)
        at_target -= jax.nn.logsumexp(logits_BxKxV, axis=-1, keepdims=True)
        return cache, log_probs_BxC + jnp.where(target_BxC > 0, at_target.reshape(B, C), 0.0)

    scored = (incremental.empty_cache(config, B, C, T), jnp.zeros((B, C), jnp.float32))
    for position in range(trie.shared_prefix + 1):
        scored = add_position(jnp.asarray(position), scored, shared_TxBx1)
    cache, log_probs_BxC = scored
    longest = jnp.max(jnp.sum(tokens_BxCxT > 0, axis=-1))
    _, log_probs_BxC = jax.lax.fori_loop(
        trie.shared_prefix + 1,
        longest,
        functools.partial(add_position, read_TxBxK=read_TxBxC),
        (incremental.reorder(cache, jnp.zeros((B, C), jnp.int32)), log_probs_BxC),
    )
    return jnp.where(tokens_BxCxT[..., 0] > 0, log_probs_BxC, NO_BEAM)
