"""T5 1.1 as a network for recalign: training, and decoding a position at a time for many beams.

Shape letters as in `recalign.model.t5.layers`; K beams an example, N layers, S slots.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import gin
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from recalign.model.network import Network, shift_right
from recalign.model.output import log_probs_of_hidden
from recalign.model.slots import Cache
from recalign.model.t5.layers import padding_bias
from recalign.model.t5.sizes import T5Sizes
from recalign.model.t5.transformer import DecoderLayer, Transformer


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Memory:
    """What every step reads and none changes; one copy an example, whatever the beams."""

    cross_keys_NxBxLxHxC: Float[Array, "N B L H C"]
    cross_values_NxBxLxHxC: Float[Array, "N B L H C"]
    cross_bias_Bx1x1xL: Float[Array, "B 1 1 L"]
    self_bias_1xHxTxT: Float[Array, "1 H T T"]


@gin.configurable
@dataclasses.dataclass(frozen=True)
class T5Config(T5Sizes, Network):
    """T5 1.1 of these sizes (`T5Sizes`)."""

    def init(self, key: Array) -> Any:
        tokens_1x1 = jnp.ones((1, 1), jnp.int32)
        # Layers in a loop draw what layers one by one would, and compile in less time.
        module = Transformer(dataclasses.replace(self, unroll_layers=False))
        return module.init(key, tokens_1x1, tokens_1x1)["params"]

    def logits(
        self, params: Any, batch: Mapping[str, Int[Array, "B _"]], dropout_key: Array | None
    ) -> Float[Array, "B T V"]:
        segments_BxT = batch.get("targets_segment_ids")
        logits: Any = Transformer(self).apply(
            {"params": params},
            batch["inputs"],
            shift_right(batch["targets"], segments_BxT),
            batch.get("inputs_segment_ids"),
            segments_BxT,
            enable_dropout=dropout_key is not None,
            rngs=None if dropout_key is None else {"dropout": dropout_key},
        )
        return logits

    def start(
        self, params: Any, inputs_BxL: Int[Array, "B L"], beams: int, max_decode_len: int
    ) -> tuple[Memory, Cache]:
        """Encodes once and projects the encoder's output to each layer's keys and values once."""
        module, layer = Transformer(self).bind({"params": params}), DecoderLayer(self)
        encoded_BxLxD = module.encode(inputs_BxL)

        def project(_: None, params: Any) -> tuple[None, tuple[Array, Array]]:
            attention = layer.bind({"params": params}).encoder_decoder_attention
            return None, attention.keys_values(encoded_BxLxD)

        _, (keys, values) = jax.lax.scan(project, None, params["decoder"]["layers"])
        memory = Memory(
            cross_keys_NxBxLxHxC=keys,
            cross_values_NxBxLxHxC=values,
            cross_bias_Bx1x1xL=padding_bias(inputs_BxL, self.activation_dtype),
            self_bias_1xHxTxT=module.decoder.self_bias(max_decode_len),
        )
        sizes = (self.num_decoder_layers, len(inputs_BxL), beams, max_decode_len)
        heads = (self.num_heads, self.head_dim)
        return memory, Cache.empty(*sizes, heads, self.activation_dtype)

    def step(
        self, params: Any, memory: Memory, cache: Cache, tokens_BxK: Array, position: Array
    ) -> tuple[Float[Array, "B K V"], Cache]:
        hidden_BxKxD, cache = self._hidden(params, memory, cache, tokens_BxK, position)
        return self._output_layer(params, hidden_BxKxD), cache

    def step_log_probs(
        self,
        params: Any,
        memory: Memory,
        cache: Cache,
        tokens_BxK: Array,
        position: Array,
        next_BxKxM: Array,
        wanted_BxK: Array | None = None,
    ) -> tuple[Float[Array, "B K M"], Cache]:
        hidden_BxKxD, cache = self._hidden(params, memory, cache, tokens_BxK, position)
        logits_of = functools.partial(self._output_layer, params)
        return log_probs_of_hidden(logits_of, hidden_BxKxD, next_BxKxM, wanted_BxK), cache

    def _output_layer(self, params: Any, hidden: Float[Array, "... D"]) -> Float[Array, "... V"]:
        logits: Array = Transformer(self).bind({"params": params}).logits(hidden)
        return logits

    def _hidden(
        self, params: Any, memory: Memory, cache: Cache, tokens_BxK: Array, position: Array
    ) -> tuple[Float[Array, "B K D"], Cache]:
        """The decoder's output at one position, before its last norm."""
        module, layer = Transformer(self).bind({"params": params}), DecoderLayer(self)
        slots = cache.slots
        slot_BxKxT, own_bias_Bx1xKxS = cache.at(position)
        bias_1xHx1xT = jax.lax.dynamic_slice_in_dim(memory.self_bias_1xHxTxT, position, 1, axis=2)
        self_bias_1xHx1xS = jnp.repeat(bias_1xHx1xT, slots, axis=3)

        biases = (self_bias_1xHx1xS, own_bias_Bx1xKxS, memory.cross_bias_Bx1x1xL)

        def apply_layer(carry: tuple, numbered: tuple) -> tuple[tuple, None]:
            number, params, cross = numbered
            bound: Any = layer.bind({"params": params})
            return bound.step(*carry, number, position * slots, cross, *biases), None

        # The cache is carried, not scanned over: it is written in place.
        (x_BxKxD, keys, values), _ = jax.lax.scan(
            apply_layer,
            (module.token_embedder(tokens_BxK), cache.keys_NxBxSxHxC, cache.values_NxBxSxHxC),
            (
                jnp.arange(self.num_decoder_layers),
                params["decoder"]["layers"],
                (memory.cross_keys_NxBxLxHxC, memory.cross_values_NxBxLxHxC),
            ),
            unroll=self.num_decoder_layers if self.unroll_layers else 1,
        )
        return x_BxKxD, Cache(keys, values, slot_BxKxT)

    def reorder(self, cache: Cache, beams_BxK: Int[Array, "B K"]) -> Cache:
        return cache.reordered(beams_BxK)
