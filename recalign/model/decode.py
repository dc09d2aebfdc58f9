"""Beam search with T5X's semantics, over all token sequences or over a trie of valid ones.

The search keeps K live and K finished beams. A step takes the 2K best continuations of the live
beams: even if K of them end, K are left to live on. A finished beam's score is its
log-probability divided by ((5 + length) / 6)^alpha (Wu et al., 2016, equation 14).

Shape letters as in `recalign.model.network`; K beams, M children of a trie's node, P parts of
the vocabulary.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from recalign.errors import UserError
from recalign.model.network import Network
from recalign.model.trie import Trie

LENGTH_PENALTY = 0.6
"""The exponent of T5X's beam search, which calls it brevity penalty; no gin file changes it."""

# The score of a beam that does not exist. Below half of it counts as not existing, since scores
# add up and are divided by the length penalty.
NO_BEAM = -1.0e7
_EXISTS = NO_BEAM / 2
# On several devices the best tokens are chosen within so many parts of the vocabulary first: where
# the output layer is spread, the parts' best travel, not all logits. One device is faster without.
_VOCABULARY_PARTS = 8


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Beams:
    """The K beams of each example in ascending order of their scores: the best is the last.

    Where fewer than K sequences are valid, the first beams are fillers: no tokens (all 0), score
    and log-probability -1e7. An example none of whose beams ended within the length has its live
    beams instead, without EOS, with log-probabilities as scores, as in T5X.
    """

    tokens_BxKxT: Int[Array, "B K T"]  # with EOS, and 0 after it
    scores_BxK: Float[Array, "B K"]  # log-probability over length penalty
    log_probs_BxK: Float[Array, "B K"]  # of the sequence, EOS included; natural logarithm


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Candidates:
    """The 2K best continuations of an example's live beams, best first."""

    log_probs: Float[Array, "B 2K"]
    tokens: Int[Array, "B 2K"]
    beams: Int[Array, "B 2K"]
    nodes: Int[Array, "B 2K"]  # Of the trie; 0 without one.


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Search:
    """The state of the search; both sets are kept in ascending order."""

    position: Int[Array, ""]
    live_log_probs_BxK: Float[Array, "B K"]
    live_tokens_BxKxT: Int[Array, "B K T"]
    live_nodes_BxK: Int[Array, "B K"]
    cache: Any
    finished: Beams


def beam_decode(
    params: Any,
    network: Network,
    encoder_input_tokens_BxL: Int[Array, "B L"],
    *,
    beam_size: int,
    max_decode_len: int,
    alpha: float = LENGTH_PENALTY,
    eos_id: int = 1,
    trie: Trie | None = None,
    allowed_BxN: Bool[Array, "#B N"] | None = None,
    batch_sharding: jax.sharding.Sharding | None = None,
) -> Beams:
    """The best target sequences of each example. A pure function, to be jitted by the caller.

    Args:
      params, network: the model.
      encoder_input_tokens_BxL: inputs, padded on the right with 0.
      beam_size: K, beams kept and returned.
      max_decode_len: T, the longest output, EOS included.
      alpha: exponent of the length penalty; 0 ranks by log-probability.
      eos_id: the token that ends a sequence.
      trie: only its sequences are searched.
      allowed_BxN: `trie.node_mask(...)`: the sequences each example is restricted to.
      batch_sharding: how the examples are spread over a mesh, so that the compiler does not also
        spread the candidates of an example.
    """
    if trie is not None and trie.depth > max_decode_len:
        raise UserError(
            f"the longest ID has {trie.depth} tokens with EOS, more than max_decode_len "
            f"{max_decode_len}"
        )
    if trie is None and allowed_BxN is not None:
        raise UserError("allowed_BxN restricts the sequences of a trie, but none was given")

    steps = max_decode_len if trie is None else trie.depth
    # No sequence can be longer, so none can have a larger penalty. T5X counts the start token.
    longest = steps + 1 if trie is None else steps
    batch = encoder_input_tokens_BxL.shape[0]
    memory, cache = network.start(params, encoder_input_tokens_BxL, beam_size, max_decode_len)

    def advance(
        search: _Search, live_beams: int = beam_size, levels: tuple[int, int | None] = (0, None)
    ) -> _Search:
        read = (params, memory, search.cache, _last_tokens(search), search.position)
        if trie is None:
            logits_BxKxV, cache = network.step(*read)
            parts = _VOCABULARY_PARTS if batch_sharding and batch_sharding.num_devices > 1 else 1
            candidates = _any_token(
                logits_BxKxV, search.live_log_probs_BxK, 2 * beam_size, parts, batch_sharding
            )
        else:
            children = trie.children(search.live_nodes_BxK, allowed_BxN, *levels)
            tokens_BxKxM = trie.token_N[children[0]]
            log_probs_BxKxM, cache = network.step_log_probs(*read, tokens_BxKxM)
            candidates = _trie_children(
                log_probs_BxKxM, search.live_log_probs_BxK, *children, trie.token_N, 2 * beam_size
            )
        return _select(search, candidates, network, cache, live_beams, alpha, eos_id)

    def can_improve(search: _Search) -> Bool[Array, ""]:
        best_live_B = search.live_log_probs_BxK[:, -1]
        worst_finished_B = search.finished.scores_BxK[:, 0]
        settled_B = (worst_finished_B > _EXISTS) & (
            worst_finished_B > best_live_B / _length_penalty(longest, alpha)
        )
        settled_B |= best_live_B < _EXISTS
        return (search.position < steps) & ~jnp.all(settled_B)

    # One beam an example is enough for the first step, and for as long as all IDs begin alike.
    search = _start(cache, batch, beam_size, max_decode_len)
    first = 0 if trie is None else trie.shared_prefix
    for level in range(first):
        search = advance(search, live_beams=1, levels=(level, level))
    search = advance(search, levels=(first, first))
    search = jax.lax.while_loop(
        can_improve, functools.partial(advance, levels=(first + 1, None)), search
    )
    return _result(search)


def _start(cache: Any, batch: int, beam_size: int, max_decode_len: int) -> _Search:
    nothing_BxK = jnp.full((batch, beam_size), NO_BEAM, jnp.float32)
    tokens_BxKxT = jnp.zeros((batch, beam_size, max_decode_len), jnp.int32)
    return _Search(
        position=jnp.zeros((), jnp.int32),
        live_log_probs_BxK=jnp.zeros((batch, 1), jnp.float32),
        live_tokens_BxKxT=tokens_BxKxT[:, :1],
        live_nodes_BxK=jnp.zeros((batch, 1), jnp.int32),
        cache=cache,
        finished=Beams(tokens_BxKxT, nothing_BxK, nothing_BxK),
    )


def _last_tokens(search: _Search) -> Int[Array, "B K"]:
    """What the decoder reads next: the last token of each beam, at first the start token, 0."""
    place = jnp.maximum(search.position - 1, 0)
    return jax.lax.dynamic_index_in_dim(search.live_tokens_BxKxT, place, axis=2, keepdims=False)


def _any_token(
    logits_BxKxV: Array,
    live_log_probs_BxK: Array,
    count: int,
    most_parts: int = 1,
    batch_sharding: jax.sharding.Sharding | None = None,
) -> _Candidates:
    log_probs_BxKxV = jax.nn.log_softmax(logits_BxKxV) + live_log_probs_BxK[..., None]
    B, K, V = log_probs_BxKxV.shape
    parts = math.gcd(V, most_parts)
    # No more than `count` of one beam and part can be among the best, so each part's best come
    # first: the second selection is then over few. Ties fall as in one selection over all.
    best = jax.lax.top_k(log_probs_BxKxV.reshape(B, K, parts, V // parts), min(count, V // parts))
    if batch_sharding is not None:
        best = jax.lax.with_sharding_constraint(best, batch_sharding)
    top_BxKxPxC, place_BxKxPxC = best
    token_BxKxPxC = place_BxKxPxC + jnp.arange(0, V, V // parts)[:, None]
    log_probs, index = _top(top_BxKxPxC, count)
    return _Candidates(
        log_probs=log_probs,
        tokens=jnp.take_along_axis(_flat(token_BxKxPxC), index, axis=1),
        beams=index // math.prod(top_BxKxPxC.shape[2:]),
        nodes=jnp.zeros_like(index),
    )


def _trie_children(
    log_probs_BxKxM: Array,
    live_log_probs_BxK: Array,
    child_BxKxM: Array,
    valid_BxKxM: Array,
    token_N: Array,
    count: int,
) -> _Candidates:
    log_probs_BxKxM += live_log_probs_BxK[..., None]
    log_probs, index = _top(jnp.where(valid_BxKxM, log_probs_BxKxM, NO_BEAM), count)
    nodes = jnp.take_along_axis(_flat(child_BxKxM), index, axis=1)
    return _Candidates(
        log_probs=log_probs,
        tokens=token_N[nodes],
        beams=index // child_BxKxM.shape[-1],
        nodes=nodes,
    )


def _flat(x_BxKx: Array) -> Array:
    return x_BxKx.reshape(x_BxKx.shape[0], -1)


def _top(log_probs_BxKx: Array, count: int) -> tuple[Array, Array]:
    """The best `count` over all beams and their flat positions; filled up where there are fewer."""
    flat = _flat(log_probs_BxKx)
    top, index = jax.lax.top_k(flat, min(count, flat.shape[1]))
    missing = ((0, 0), (0, count - top.shape[1]))
    return jnp.pad(top, missing, constant_values=NO_BEAM), jnp.pad(index, missing)


def _select(
    search: _Search,
    candidates: _Candidates,
    network: Network,
    cache: Any,
    live_beams: int,
    alpha: float,
    eos_id: int,
) -> _Search:
    """The best candidates that go on become the live beams; the best that end join the finished."""
    exists = candidates.log_probs > _EXISTS
    ended = exists & (candidates.tokens == eos_id)
    prefixes = _pick(search.live_tokens_BxKxT, candidates.beams)
    sequences = jax.lax.dynamic_update_index_in_dim(
        prefixes, candidates.tokens, search.position, axis=2
    )

    going_on = jnp.where(exists & ~ended, candidates.log_probs, NO_BEAM)
    live_log_probs_BxK, index_BxK = _ascending_top(going_on, live_beams)
    length = search.position + 1
    finished = search.finished
    scores = jnp.where(ended, candidates.log_probs / _length_penalty(length, alpha), NO_BEAM)
    scores_BxK, kept_BxK = _ascending_top(
        jnp.concatenate([finished.scores_BxK, scores], axis=1), finished.scores_BxK.shape[1]
    )
    all_log_probs = jnp.concatenate([finished.log_probs_BxK, candidates.log_probs], axis=1)
    all_tokens = jnp.concatenate([finished.tokens_BxKxT, sequences], axis=1)
    return _Search(
        position=length,
        live_log_probs_BxK=live_log_probs_BxK,
        live_tokens_BxKxT=_pick(sequences, index_BxK),
        live_nodes_BxK=_pick(candidates.nodes, index_BxK),
        cache=network.reorder(cache, _pick(candidates.beams, index_BxK)),
        finished=Beams(
            tokens_BxKxT=_pick(all_tokens, kept_BxK),
            scores_BxK=scores_BxK,
            log_probs_BxK=_pick(all_log_probs, kept_BxK),
        ),
    )


def _ascending_top(values: Array, count: int) -> tuple[Array, Array]:
    top, index = jax.lax.top_k(values, count)
    return jnp.flip(top, axis=1), jnp.flip(index, axis=1)


def _pick(x_BxAx: Array, index_BxK: Int[Array, "B K"]) -> Array:
    return jax.vmap(lambda x, index: x.at[index].get(mode="promise_in_bounds"))(x_BxAx, index_BxK)


def _length_penalty(length: int | Array, alpha: float) -> Array:
    """What a log-probability is divided by; `length` counts EOS."""
    return jnp.power((5.0 + length) / 6.0, alpha)


def _result(search: _Search) -> Beams:
    none_ended_B = search.finished.scores_BxK[:, -1] < _EXISTS
    live = Beams(search.live_tokens_BxKxT, search.live_log_probs_BxK, search.live_log_probs_BxK)

    def chosen(live: Array, ended: Array) -> Array:
        return jnp.where(none_ended_B.reshape(-1, *[1] * (ended.ndim - 1)), live, ended)

    beams = jax.tree.map(chosen, live, search.finished)
    exists_BxK = beams.scores_BxK > _EXISTS
    return Beams(
        tokens_BxKxT=jnp.where(exists_BxK[..., None], beams.tokens_BxKxT, 0),
        scores_BxK=jnp.where(exists_BxK, beams.scores_BxK, NO_BEAM),
        log_probs_BxK=jnp.where(exists_BxK, beams.log_probs_BxK, NO_BEAM),
    )
