"""Beam search as tests call it, and its answer found without it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from recalign.model.decode import beam_decode
from recalign.model.t5.transformer import Transformer

EOS, LENGTH = 1, 6

_compiled_decode = jax.jit(beam_decode, static_argnames=("network", "beam_size", "max_decode_len"))
node_mask = jax.jit(lambda trie, indices_BxC: trie.node_mask(indices_BxC))


def search(config, params, inputs_BxL, **kwargs):
    """NumPy beams; one compilation for all tests with the same settings."""
    beams = _compiled_decode(
        params,
        network=config,
        encoder_input_tokens_BxL=inputs_BxL,
        **{"beam_size": 4, "max_decode_len": LENGTH, **kwargs},
    )
    return jax.tree.map(np.asarray, beams)


def padded(sequences, length=LENGTH):
    tokens_SxT = np.zeros((len(sequences), length), np.int32)
    for row, sequence in enumerate(sequences):
        tokens_SxT[row, : len(sequence) + 1] = [*sequence, EOS]
    return tokens_SxT


@functools.partial(jax.jit, static_argnames="config")
def _token_log_probs(config, params, inputs_BxL, tokens_BxSxT):
    model = Transformer(config)

    def one(inputs_L, tokens_SxT):
        def for_each_sequence(row):
            return jnp.broadcast_to(row, (len(tokens_SxT), *row.shape[1:]))

        encoded_1xLxD = model.apply({"params": params}, inputs_L[None], method="encode")
        logits_SxTxV = model.apply(
            {"params": params},
            for_each_sequence(encoded_1xLxD),
            for_each_sequence(inputs_L[None]),
            jnp.pad(tokens_SxT[:, :-1], ((0, 0), (1, 0))),
            method="decode",
        )
        at_target = jnp.take_along_axis(
            jax.nn.log_softmax(logits_SxTxV), tokens_SxT[..., None], axis=-1
        )[..., 0]
        return jnp.where(tokens_SxT > 0, at_target, 0)

    tokens_BxSxT = jnp.broadcast_to(tokens_BxSxT, (len(inputs_BxL), *tokens_BxSxT.shape[-2:]))
    return jax.lax.map(lambda rows: one(*rows), (inputs_BxL, tokens_BxSxT))


def teacher_forced(config, params, inputs_BxL, tokens_BxSxT):
    """Log-probability of each token of each sequence, by the training network: [B, S, T]."""
    return np.asarray(_token_log_probs(config, params, inputs_BxL, tokens_BxSxT))


def penalised(log_probs_BxS, tokens_SxT, alpha=0.6):
    return log_probs_BxS / ((5 + (tokens_SxT > 0).sum(-1)) / 6) ** alpha


def brute_force(config, params, inputs_BxL, sequences, alpha=0.6):
    """All sequences, scored by teacher forcing, worst first: tokens [B, S, T], scores [B, S]."""
    tokens_SxT = padded(sequences)
    log_probs_BxS = teacher_forced(config, params, inputs_BxL, tokens_SxT).sum(-1)
    scores_BxS = penalised(log_probs_BxS, tokens_SxT, alpha)
    order_BxS = np.argsort(scores_BxS, axis=1)
    return tokens_SxT[order_BxS], np.take_along_axis(scores_BxS, order_BxS, axis=1)
