"""T5 1.1 as a flax.linen model with stacked layers.

All layers of a stack are one set of parameters with a leading layer axis, applied by `nn.scan`:
the compiler sees one layer however deep the model is. `recalign.model.names` gives the
parameters T5X's names. Shape letters: see `recalign.model.t5.layers`; N is the number of layers.
"""

import inspect

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from recalign.model.t5.layers import (
    Attention,
    Dense,
    GatedMlp,
    RelativePositionBias,
    RMSNorm,
    causal_bias,
    length_dropout,
    padding_bias,
    segment_bias,
)
from recalign.model.t5.sizes import T5Sizes

# float32 even under bfloat16 activations: the softmax over the vocabulary needs it.
_LOGITS_DTYPE = jnp.dtype("float32")


class EncoderLayer(nn.Module):
    """Self-attention, then the feed-forward block, each normed before and added after."""

    config: T5Sizes

    @nn.compact
    def __call__(
        self,
        x_BxLxD: Float[Array, "B L D"],
        relpos_1xHxLxL: Float[Array, "1 H L L"],
        key_bias: Float[Array, "B 1 #L L"],
        deterministic: bool,
    ) -> tuple[Float[Array, "B L D"], None]:
        config, dtype = self.config, self.config.activation_dtype
        dropout = length_dropout(config)

        normed = RMSNorm(dtype, name="pre_attention_layer_norm")(x_BxLxD)
        # The two biases stay apart: their sum would be an array of the size of all scores.
        attended = Attention(config, name="attention")(
            normed, normed, relpos_1xHxLxL, key_bias, deterministic=deterministic
        )
        x_BxLxD = x_BxLxD + dropout(attended, deterministic=deterministic)

        normed = RMSNorm(dtype, name="pre_mlp_layer_norm")(x_BxLxD)
        transformed = GatedMlp(config, name="mlp")(normed, deterministic=deterministic)
        return x_BxLxD + dropout(transformed, deterministic=deterministic), None


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to the encoder, and the feed-forward block."""

    config: T5Sizes

    def setup(self) -> None:
        config, dtype = self.config, self.config.activation_dtype
        self.pre_self_attention_layer_norm = RMSNorm(dtype)
        self.self_attention = Attention(config)
        self.pre_cross_attention_layer_norm = RMSNorm(dtype)
        self.encoder_decoder_attention = Attention(config)
        self.pre_mlp_layer_norm = RMSNorm(dtype)
        self.mlp = GatedMlp(config)
        self.dropout = length_dropout(config)

    def __call__(
        self,
        x_BxTxD: Float[Array, "B T D"],
        encoded_BxLxD: Float[Array, "B L D"],
        self_bias: Float[Array, "1 H T T"],
        cross_bias: Float[Array, "B 1 #T L"],
        segment_bias: Float[Array, "B 1 T T"] | None,
        deterministic: bool,
    ) -> tuple[Float[Array, "B T D"], None]:
        normed = self.pre_self_attention_layer_norm(x_BxTxD)
        attended = self.self_attention(
            normed, normed, self_bias, segment_bias, deterministic=deterministic
        )
        x_BxTxD = x_BxTxD + self.dropout(attended, deterministic=deterministic)

        normed = self.pre_cross_attention_layer_norm(x_BxTxD)
        attended = self.encoder_decoder_attention(
            normed, encoded_BxLxD, None, cross_bias, deterministic=deterministic
        )
        x_BxTxD = x_BxTxD + self.dropout(attended, deterministic=deterministic)

        normed = self.pre_mlp_layer_norm(x_BxTxD)
        transformed = self.mlp(normed, deterministic=deterministic)
        return x_BxTxD + self.dropout(transformed, deterministic=deterministic), None

    def step(
        self,
        x_BxKxD: Array,
        keys_NxBxSxHxC: Array,
        values_NxBxSxHxC: Array,
        layer: Int[Array, ""],
        first_slot: Int[Array, ""],
        cross_BxLxHxC: tuple[Array, Array],
        self_bias_1xHx1xS: Array,
        own_bias_Bx1xKxS: Array,
        cross_bias_Bx1x1xL: Array,
    ) -> tuple[Float[Array, "B K D"], Float[Array, "N B S H C"], Float[Array, "N B S H C"]]:
        """One position of K beams; see `recalign.model.slots`.

        Both attentions take the beams of an example as their queries, so that keys and values are
        neither copied nor read once a beam. This layer's keys and values of the position are
        written to the slots from `first_slot` on.
        """
        normed = self.pre_self_attention_layer_norm(x_BxKxD)
        key, value = self.self_attention.keys_values(normed)
        place = (layer, 0, first_slot, 0, 0)
        keys_NxBxSxHxC = jax.lax.dynamic_update_slice(keys_NxBxSxHxC, key[None], place)
        values_NxBxSxHxC = jax.lax.dynamic_update_slice(values_NxBxSxHxC, value[None], place)
        keys, values = keys_NxBxSxHxC[layer], values_NxBxSxHxC[layer]
        x_BxKxD = x_BxKxD + self.self_attention.attend(
            normed, keys, values, self_bias_1xHx1xS, own_bias_Bx1xKxS
        )
        normed = self.pre_cross_attention_layer_norm(x_BxKxD)
        x_BxKxD = x_BxKxD + self.encoder_decoder_attention.attend(
            normed, *cross_BxLxHxC, None, cross_bias_Bx1x1xL
        )
        normed = self.pre_mlp_layer_norm(x_BxKxD)
        x_BxKxD = x_BxKxD + self.mlp(normed, deterministic=True)
        return x_BxKxD, keys_NxBxSxHxC, values_NxBxSxHxC


class Encoder(nn.Module):
    """Embedded inputs to encoded inputs."""

    config: T5Sizes

    @nn.compact
    def __call__(
        self, embedded_BxLxD: Array, key_bias: Float[Array, "B 1 #L L"], *, deterministic: bool
    ) -> Float[Array, "B L D"]:
        config = self.config
        length = embedded_BxLxD.shape[1]
        relpos = RelativePositionBias(config, bidirectional=True, name="relpos_bias")
        x_BxLxD = length_dropout(config)(embedded_BxLxD, deterministic=deterministic)
        layers = _stacked(EncoderLayer, config, config.num_encoder_layers)(config, name="layers")
        x_BxLxD, _ = layers(x_BxLxD, relpos(length, length), key_bias, deterministic)
        x_BxLxD = RMSNorm(config.activation_dtype, name="encoder_norm")(x_BxLxD)
        # The one place where T5X draws a mask a position.
        return nn.Dropout(config.dropout_rate)(x_BxLxD, deterministic=deterministic)


class Decoder(nn.Module):
    """Embedded targets and encoded inputs to logits."""

    config: T5Sizes
    shared_embedding: nn.Embed

    def setup(self) -> None:
        config = self.config
        self.relpos_bias = RelativePositionBias(config, bidirectional=False)
        self.layers = _stacked(DecoderLayer, config, config.num_decoder_layers)(config)
        self.decoder_norm = RMSNorm(config.activation_dtype)
        if not config.logits_via_embedding:
            self.logits_dense = Dense(config.vocab_size, dtype=_LOGITS_DTYPE)
        self.dropout = length_dropout(config)

    def __call__(
        self,
        embedded_BxTxD: Float[Array, "B T D"],
        encoded_BxLxD: Float[Array, "B L D"],
        cross_bias: Float[Array, "B 1 #T L"],
        segment_bias: Float[Array, "B 1 T T"] | None = None,
        *,
        deterministic: bool,
    ) -> Float[Array, "B T V"]:
        # Targets are padded on the right only, so the causal mask already hides the padding from
        # every position that counts.
        self_bias = self.self_bias(embedded_BxTxD.shape[1])
        x_BxTxD = self.dropout(embedded_BxTxD, deterministic=deterministic)
        x_BxTxD, _ = self.layers(
            x_BxTxD, encoded_BxLxD, self_bias, cross_bias, segment_bias, deterministic
        )
        x_BxTxD = self.dropout(self.decoder_norm(x_BxTxD), deterministic=deterministic)
        return self._output_layer(x_BxTxD)

    def self_bias(self, length: int) -> Float[Array, "1 H T T"]:
        """Position scores and causal mask; row t is all that position t needs of it."""
        return self.relpos_bias(length, length) + causal_bias(length, self.config.activation_dtype)

    def logits(self, x: Float[Array, "... D"]) -> Float[Array, "... V"]:
        """The output layer alone, without dropout."""
        return self._output_layer(self.decoder_norm(x))

    def _output_layer(self, x: Float[Array, "... D"]) -> Float[Array, "... V"]:
        if not self.config.logits_via_embedding:
            return self.logits_dense(x)
        table_VxD = self.shared_embedding.embedding
        logits = jnp.einsum("...d,vd->...v", x.astype(_LOGITS_DTYPE), table_VxD)
        return logits / jnp.sqrt(self.config.emb_dim)


class Transformer(nn.Module):
    """T5 1.1. Token 0 is padding in the inputs and the decoder's start.

    A row may be packed: several examples one after the other, told apart by segment ids as T5X has
    them (1, 2, …; 0 is padding). Each sees itself alone. T5's positions are distances, so it needs
    none of its own.
    """

    config: T5Sizes

    def setup(self) -> None:
        self.token_embedder = nn.Embed(
            self.config.vocab_size,
            self.config.emb_dim,
            dtype=self.config.activation_dtype,
            embedding_init=nn.initializers.normal(stddev=self.config.embedding_stddev),
        )
        self.encoder = Encoder(self.config)
        self.decoder = Decoder(self.config, self.token_embedder)

    def __call__(
        self,
        encoder_input_tokens_BxL: Int[Array, "B L"],
        decoder_input_tokens_BxT: Int[Array, "B T"],
        encoder_segment_ids_BxL: Int[Array, "B L"] | None = None,
        decoder_segment_ids_BxT: Int[Array, "B T"] | None = None,
        *,
        enable_dropout: bool = False,
    ) -> Float[Array, "B T V"]:
        """Logits of every target position; the targets are shifted right, each example by itself.

        Segment ids say which example of the row a token belongs to: both or None, where a row is
        one example. `enable_dropout` needs the random stream "dropout".
        """
        deterministic = not enable_dropout
        segments = encoder_segment_ids_BxL, decoder_segment_ids_BxT
        encoded = self.encode(encoder_input_tokens_BxL, segments[0], deterministic=deterministic)
        given = encoded, encoder_input_tokens_BxL, decoder_input_tokens_BxT
        return self.decode(*given, *segments, deterministic=deterministic)

    def decode(
        self,
        encoded_BxLxD: Float[Array, "B L D"],
        encoder_input_tokens_BxL: Int[Array, "B L"],
        decoder_input_tokens_BxT: Int[Array, "B T"],
        encoder_segment_ids_BxL: Int[Array, "B L"] | None = None,
        decoder_segment_ids_BxT: Int[Array, "B T"] | None = None,
        *,
        deterministic: bool = True,
    ) -> Float[Array, "B T V"]:
        dtype, own_segments = self.config.activation_dtype, decoder_segment_ids_BxT
        cross_bias, own_bias = padding_bias(encoder_input_tokens_BxL, dtype), None
        if encoder_segment_ids_BxL is not None and own_segments is not None:
            cross_bias = segment_bias(own_segments, encoder_segment_ids_BxL, dtype)
            own_bias = segment_bias(own_segments, own_segments, dtype)
        embedded_BxTxD = self.token_embedder(decoder_input_tokens_BxT)
        return self.decoder(
            embedded_BxTxD, encoded_BxLxD, cross_bias, own_bias, deterministic=deterministic
        )

    def logits(self, x: Float[Array, "... D"]) -> Float[Array, "... V"]:
        """The output layer alone; from here, where a tied one finds the embedding."""
        return self.decoder.logits(x)

    def encode(
        self,
        encoder_input_tokens_BxL: Int[Array, "B L"],
        encoder_segment_ids_BxL: Int[Array, "B L"] | None = None,
        *,
        deterministic: bool = True,
    ) -> Float[Array, "B L D"]:
        dtype, segments = self.config.activation_dtype, encoder_segment_ids_BxL
        bias = padding_bias(encoder_input_tokens_BxL, dtype)
        if segments is not None:
            bias = segment_bias(segments, segments, dtype)
        embedded_BxLxD = self.token_embedder(encoder_input_tokens_BxL)
        return self.encoder(embedded_BxLxD, bias, deterministic=deterministic)


def _stacked(layer: type[nn.Module], config: T5Sizes, num_layers: int) -> type[nn.Module]:
    """`num_layers` of `layer` as one module: parameters get a leading layer axis."""
    if config.remat:
        named = isinstance(config.remat, str)
        policy = getattr(jax.checkpoint_policies, str(config.remat)) if named else None
        # `deterministic` is a Python bool, so not traced. Inside a scan the loop itself keeps XLA
        # from merging the recomputation with the original.
        arguments = list(inspect.signature(layer.__call__).parameters)
        layer = nn.remat(
            layer,
            policy=policy,
            prevent_cse=config.unroll_layers,
            static_argnums=(arguments.index("deterministic"),),
        )
    return nn.scan(
        layer,
        variable_axes={"params": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=nn.broadcast,
        length=num_layers,
        unroll=num_layers if config.unroll_layers else 1,
    )
