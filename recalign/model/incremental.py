"""The decoder one position at a time, for many beams of each example.

What a beam wrote stays where it is: keys and values are never copied when beams are reordered,
dropped or split. Each step writes one slot a beam, and each beam knows the slots of its own past;
it looks at all slots of its example and masks those of others. That is a matrix product with the
beams as rows, and reads the cache once.

Shape letters as in `recalign.model.layers`; K beams an example, N layers, S = T * slots.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from recalign.model.config import T5Config
from recalign.model.layers import MASKED, padding_bias
from recalign.model.network import DecoderLayer, Transformer, run


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Memory:
    """What every step reads and none changes; one copy an example, whatever the beams."""

    cross_keys_NxBxLxHxC: Float[Array, "N B L H C"]
    cross_values_NxBxLxHxC: Float[Array, "N B L H C"]
    cross_bias_Bx1x1xL: Float[Array, "B 1 1 L"]
    self_bias_1xHxTxT: Float[Array, "1 H T T"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cache:
    """Keys and values of all positions that were read, those of position t in slots t * K ….

    Attributes:
      keys_NxBxSxHxC: of every layer.
      values_NxBxSxHxC: of every layer.
      slot_BxKxT: the slot, 0 … K - 1, that each live beam has at each position.
    """

    keys_NxBxSxHxC: Float[Array, "N B S H C"]
    values_NxBxSxHxC: Float[Array, "N B S H C"]
    slot_BxKxT: Int[Array, "B K T"]


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


def empty_cache(config: T5Config, batch: int, slots: int, max_decode_len: int) -> Cache:
    """Room for at most `slots` beams an example; one beam is live."""
    shape = (
        config.num_decoder_layers,
        batch,
        max_decode_len * slots,
        config.num_heads,
        config.head_dim,
    )
    return Cache(
        keys_NxBxSxHxC=jnp.zeros(shape, config.activation_dtype),
        values_NxBxSxHxC=jnp.zeros(shape, config.activation_dtype),
        slot_BxKxT=jnp.zeros((batch, 1, max_decode_len), jnp.int32),
    )


def step(
    params: dict,
    config: T5Config,
    memory: Memory,
    tokens_BxK: Int[Array, "B K"],
    cache: Cache,
    position: Int[Array, ""],
) -> tuple[Float[Array, "B K D"], Cache]:
    """Reads one token a beam; returns the decoder's output (before its last norm) and the cache."""
    B, K, T = cache.slot_BxKxT.shape
    slots = cache.keys_NxBxSxHxC.shape[2] // T
    slot_BxKxT = cache.slot_BxKxT.at[:, :, position].set(jnp.arange(K, dtype=jnp.int32))
    is_own_BxKxTxK = slot_BxKxT[..., None] == jnp.arange(slots)
    own_bias_Bx1xKxS = jnp.where(is_own_BxKxTxK, 0.0, MASKED).reshape(B, 1, K, T * slots)
    self_bias_1xHx1xT = jax.lax.dynamic_slice_in_dim(memory.self_bias_1xHxTxT, position, 1, axis=2)
    self_bias_1xHx1xS = jnp.repeat(self_bias_1xHx1xT, slots, axis=3)

    def apply_layer(
        carry: tuple[Array, Array, Array], layer: tuple
    ) -> tuple[tuple[Array, Array, Array], None]:
        number, layer_params, cross = layer
        return run(
            DecoderLayer(config),
            layer_params,
            *carry,
            number,
            position * slots,
            cross,
            self_bias_1xHx1xS,
            own_bias_Bx1xKxS,
            memory.cross_bias_Bx1x1xL,
            method="step",
        ), None

    # The cache is carried, not scanned over: it is written in place.
    (x_BxKxD, keys, values), _ = jax.lax.scan(
        apply_layer,
        (
            run(Transformer(config), params, tokens_BxK, method="embed"),
            cache.keys_NxBxSxHxC,
            cache.values_NxBxSxHxC,
        ),
        (
            jnp.arange(config.num_decoder_layers),
            params["decoder"]["layers"],
            (memory.cross_keys_NxBxLxHxC, memory.cross_values_NxBxLxHxC),
        ),
        unroll=config.num_decoder_layers if config.unroll_layers else 1,
    )
    return x_BxKxD, Cache(keys, values, slot_BxKxT)


def reorder(cache: Cache, beams_BxK: Int[Array, "B K"]) -> Cache:
    """Makes every new beam go on where the live beam of that number is; K may change."""
    slot_BxKxT = jnp.take_along_axis(cache.slot_BxKxT, beams_BxK[..., None], axis=1)
    return dataclasses.replace(cache, slot_BxKxT=slot_BxKxT)
