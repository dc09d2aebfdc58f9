"""Exact log-probabilities of given target sequences, by teacher forcing.

Shape letters as in `recalign.model.layers`; C candidates an example.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from recalign.model import incremental
from recalign.model.config import T5Config
from recalign.model.network import DecoderLayer, Transformer, run


def score_sequences(
    params: dict,
    config: T5Config,
    encoder_input_tokens_BxL: Int[Array, "B L"],
    target_tokens_BxCxT: Int[Array, "#B C T"],
) -> Float[Array, "B C"]:
    """The log-probability of each target sequence given its example's inputs.

    Args:
      params: parameters of `Transformer`.
      config: of the model.
      encoder_input_tokens_BxL: inputs, padded on the right with 0. Encoded once for all C.
      target_tokens_BxCxT: sequences with their EOS, padded on the right with 0; one row serves
        all examples ("yes" and "no", for instance).

    Returns:
      The natural logarithm of the probability of all tokens up to the padding; 0 for a sequence
      without tokens.
    """
    B = encoder_input_tokens_BxL.shape[0]
    _, C, T = target_tokens_BxCxT.shape
    target_tokens_BxCxT = jnp.broadcast_to(target_tokens_BxCxT, (B, C, T))
    read_BxCxT = jnp.pad(target_tokens_BxCxT[..., :-1], ((0, 0), (0, 0), (1, 0)))

    memory = incremental.prepare(params, config, encoder_input_tokens_BxL, T)
    model = Transformer(config)

    def apply_layer(x_BxCxTxD: Array, layer: tuple) -> tuple[Array, None]:
        layer_params, cross = layer
        x_BxCxTxD = run(
            DecoderLayer(config),
            layer_params,
            x_BxCxTxD,
            cross,
            memory.self_bias_1xHxTxT,
            memory.cross_bias_Bx1x1xL,
            method="candidates",
        )
        return x_BxCxTxD, None

    cross = (memory.cross_keys_NxBxLxHxC, memory.cross_values_NxBxLxHxC)
    x_BxCxTxD, _ = jax.lax.scan(
        apply_layer,
        run(model, params, read_BxCxT, method="embed"),
        (params["decoder"]["layers"], cross),
    )

    def one_position(
        position: tuple[Float[Array, "B C D"], Int[Array, "B C"]],
    ) -> Float[Array, "B C"]:
        x_BxCxD, target_BxC = position
        logits_BxCxV = run(model, params, x_BxCxD, method="logits")
        log_probs_BxCxV = jax.nn.log_softmax(logits_BxCxV)
        return jnp.take_along_axis(log_probs_BxCxV, target_BxC[..., None], axis=-1)[..., 0]

    # One position at a time, because logits of all would be T times as large.
    log_probs_TxBxC = jax.lax.map(
        one_position, (jnp.moveaxis(x_BxCxTxD, 2, 0), jnp.moveaxis(target_tokens_BxCxT, 2, 0))
    )
    counts_TxBxC = jnp.moveaxis(target_tokens_BxCxT, 2, 0) > 0
    return jnp.sum(jnp.where(counts_TxBxC, log_probs_TxBxC, 0.0), axis=0)
