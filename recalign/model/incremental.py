"""The decoder one position at a time, for many beams of each example.

Shape letters as in `recalign.model.layers`; K beams an example, N layers.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from recalign.model.config import T5Config
from recalign.model.layers import padding_bias
from recalign.model.network import DecoderLayer, Transformer, run

Cache = tuple[Float[Array, "N B K T H C"], Float[Array, "N B K T H C"]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Memory:
    """What every step reads and none changes; one copy an example, whatever the beams."""

    cross_keys_NxBxLxHxC: Float[Array, "N B L H C"]
    cross_values_NxBxLxHxC: Float[Array, "N B L H C"]
    cross_bias_Bx1x1xL: Float[Array, "B 1 1 L"]
    self_bias_1xHxTxT: Float[Array, "1 H T T"]


def prepare(
    params: dict,
    config: T5Config,
    encoder_input_tokens_BxL: Int[Array, "B L"],
    max_decode_len: int,
) -> Memory:
    """Encodes once and projects the encoder's output to each layer's keys and values once."""
    model = Transformer(config)
    encoded_BxLxD = run(model, params, encoder_input_tokens_BxL, method="encode")

    def project(_: None, layer_params: dict) -> tuple[None, tuple[Array, Array]]:
        layer = DecoderLayer(config)
        return None, run(layer, layer_params, encoded_BxLxD, method="cross_keys_values")

    _, (keys, values) = jax.lax.scan(project, None, params["decoder"]["layers"])
    return Memory(
        cross_keys_NxBxLxHxC=keys,
        cross_values_NxBxLxHxC=values,
        cross_bias_Bx1x1xL=padding_bias(encoder_input_tokens_BxL, config.activation_dtype),
        self_bias_1xHxTxT=run(model, params, max_decode_len, method="self_bias"),
    )


def empty_cache(config: T5Config, batch: int, beams: int, max_decode_len: int) -> Cache:
    shape = (
        config.num_decoder_layers,
        batch,
        beams,
        max_decode_len,
        config.num_heads,
        config.head_dim,
    )
    return jnp.zeros(shape, config.activation_dtype), jnp.zeros(shape, config.activation_dtype)


def step(
    params: dict,
    config: T5Config,
    memory: Memory,
    tokens_BxK: Int[Array, "B K"],
    cache: Cache,
    position: Int[Array, ""],
) -> tuple[Float[Array, "B K D"], Cache]:
    """Reads one token a beam; returns the decoder's output (before its last norm) and the cache."""
    x_BxKxD = run(Transformer(config), params, tokens_BxK, method="embed")
    self_bias_1xHx1xT = jax.lax.dynamic_slice_in_dim(memory.self_bias_1xHxTxT, position, 1, axis=2)

    def apply_layer(x_BxKxD: Array, layer: tuple) -> tuple[Array, Cache]:
        layer_params, cached, cross = layer
        return run(
            DecoderLayer(config),
            layer_params,
            x_BxKxD,
            cached,
            cross,
            self_bias_1xHx1xT,
            memory.cross_bias_Bx1x1xL,
            position,
            method="step",
        )

    cross = (memory.cross_keys_NxBxLxHxC, memory.cross_values_NxBxLxHxC)
    return jax.lax.scan(
        apply_layer,
        x_BxKxD,
        (params["decoder"]["layers"], cache, cross),
        unroll=config.num_decoder_layers if config.unroll_layers else 1,
    )


def reorder(cache: Cache, beams_BxK: Int[Array, "B K"]) -> Cache:
    """Gives every new beam the cache of the beam that it continues."""

    def pick(cache_NxKxTxHxC: Array, beams_K: Array) -> Array:
        return cache_NxKxTxHxC.at[:, beams_K].get(mode="promise_in_bounds")

    return jax.tree.map(lambda leaf: jax.vmap(pick, (1, 0), 1)(leaf, beams_BxK), cache)


def repeat(cache: Cache, beams: int) -> Cache:
    """The cache of an example's one beam for each of many."""
    return jax.tree.map(lambda leaf: jnp.repeat(leaf, beams, axis=2), cache)
