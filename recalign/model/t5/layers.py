"""The blocks of T5 1.1, with the arithmetic of T5X's minimal example.

Tensor names end in their shape: B batch, L input length, T target length, Q queries, S keys,
D model width, H heads, C size of a head, F feed-forward width, V vocabulary.
"""

import functools
from typing import Literal, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int

from recalign.model.slots import MASKED
from recalign.model.t5.sizes import T5Sizes

NUM_BUCKETS = 32
MAX_DISTANCE = 128

_ATTENTION_INIT = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
_RELPOS_INIT = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")

Dense = functools.partial(nn.Dense, use_bias=False)


class RMSNorm(nn.Module):
    """Scales to unit root mean square (Zhang and Sennrich, 2019); no mean, no bias.

    `nn.RMSNorm` rounds to the activations' type once, T5X before the scale: another bfloat16 model.
    """

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        scale_D = self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
        x = x.astype(jnp.float32)
        mean_square = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
        normed = (x * jax.lax.rsqrt(mean_square + 1e-6)).astype(self.dtype)
        return normed * scale_D.astype(self.dtype)


def _query_init(head_dim: int) -> nn.initializers.Initializer:
    """T5 leaves out the 1/sqrt(head size) of attention and starts with smaller queries."""

    return lambda *given: _ATTENTION_INIT(*given) / np.sqrt(head_dim)


class Attention(nn.Module):
    """Multi-head attention without scaling of the scores."""

    config: T5Sizes

    def setup(self) -> None:
        config, dtype = self.config, self.config.activation_dtype
        width = config.num_heads * config.head_dim
        self.query = Dense(width, dtype=dtype, kernel_init=_query_init(config.head_dim))
        self.key = Dense(width, dtype=dtype, kernel_init=_ATTENTION_INIT)
        self.value = Dense(width, dtype=dtype, kernel_init=_ATTENTION_INIT)
        self.out = Dense(config.emb_dim, dtype=dtype, kernel_init=_ATTENTION_INIT)

    def keys_values(
        self, x_BxSxD: Float[Array, "B S D"]
    ) -> tuple[Float[Array, "B S H C"], Float[Array, "B S H C"]]:
        return self._split_heads(self.key(x_BxSxD)), self._split_heads(self.value(x_BxSxD))

    def attend(
        self,
        x_BxQxD: Float[Array, "B Q D"],
        key_BxSxHxC: Float[Array, "B S H C"],
        value_BxSxHxC: Float[Array, "B S H C"],
        position_bias: Float[Array, "1 H Q S"] | None,
        key_bias: Float[Array, "#B 1 #Q S"] | None,
    ) -> Float[Array, "B Q D"]:
        """Attention of `x` to keys and values that are there already, without dropout."""
        query_BxQxHxC = self._split_heads(self.query(x_BxQxD))
        if self.config.float32_attention_logits:
            query_BxQxHxC = query_BxQxHxC.astype(jnp.float32)
            key_BxSxHxC = key_BxSxHxC.astype(jnp.float32)
        scores_BxHxQxS = jnp.einsum("bqhc,bshc->bhqs", query_BxQxHxC, key_BxSxHxC)
        if position_bias is not None:
            scores_BxHxQxS = _add_position_bias(
                scores_BxHxQxS, position_bias.astype(scores_BxHxQxS.dtype)
            )
        if key_bias is not None:
            scores_BxHxQxS += key_bias.astype(scores_BxHxQxS.dtype)
        weights_BxHxQxS = jax.nn.softmax(scores_BxHxQxS)
        weights_BxHxQxS = weights_BxHxQxS.astype(self.config.activation_dtype)
        return self._out(jnp.einsum("bhqs,bshc->bqhc", weights_BxHxQxS, value_BxSxHxC))

    def __call__(
        self,
        x_BxQxD: Float[Array, "B Q D"],
        memory_BxSxD: Float[Array, "B S D"],
        position_bias: Float[Array, "1 H Q S"] | None,
        key_bias: Float[Array, "#B 1 #Q S"] | None,
        *,
        deterministic: bool,
    ) -> Float[Array, "B Q D"]:
        key_BxSxHxC, value_BxSxHxC = self.keys_values(memory_BxSxD)
        if not deterministic:
            value_BxSxHxC = self._drop_keys(value_BxSxHxC)
        if self.config.attention is None:
            return self.attend(x_BxQxD, key_BxSxHxC, value_BxSxHxC, position_bias, key_bias)
        bias = _every_query(position_bias, key_bias, x_BxQxD.shape[1])
        mixed_BxQxHxC = jax.nn.dot_product_attention(
            self._split_heads(self.query(x_BxQxD)),
            key_BxSxHxC,
            value_BxSxHxC,
            bias,
            scale=1.0,
            implementation=cast(Literal["cudnn", "xla"], self.config.attention),
        )
        return self._out(mixed_BxQxHxC)

    def _split_heads(self, x_BxSxE: Float[Array, "B S E"]) -> Float[Array, "B S H C"]:
        return x_BxSxE.reshape(*x_BxSxE.shape[:2], self.config.num_heads, self.config.head_dim)

    def _out(self, mixed_BxQxHxC: Float[Array, "B Q H C"]) -> Float[Array, "B Q D"]:
        return self.out(mixed_BxQxHxC.reshape(*mixed_BxQxHxC.shape[:2], -1))

    def _drop_keys(self, value_BxSxHxC: Float[Array, "B S H C"]) -> Float[Array, "B S H C"]:
        """T5 draws one mask over the keys for all queries of a head.

        So it can be laid on the values, which are fewer numbers than the weights.
        """
        if self.config.dropout_rate == 0.0:
            return value_BxSxHxC
        keep_probability = 1.0 - self.config.dropout_rate
        B, S, H, _ = value_BxSxHxC.shape
        keep_BxHxS = jax.random.bernoulli(self.make_rng("dropout"), keep_probability, (B, H, S))
        keep_BxSxHx1 = keep_BxHxS.swapaxes(1, 2)[..., None]
        return jnp.where(keep_BxSxHx1, value_BxSxHxC / keep_probability, 0)


def _every_query(
    position_bias: Float[Array, "1 H Q S"] | None,
    key_bias: Float[Array, "#B 1 #Q S"] | None,
    queries: int,
) -> Float[Array, "#B #H Q S"] | None:
    """One bias of both, with a row a query as cuDNN wants it."""
    biases = [bias for bias in (position_bias, key_bias) if bias is not None]
    if not biases:
        return None
    both = sum(biases[1:], biases[0])
    return jnp.broadcast_to(both, (*both.shape[:2], queries, both.shape[3]))


@jax.custom_vjp
def _add_position_bias(
    scores_BxHxQxS: Float[Array, "B H Q S"], bias_1xHxQxS: Float[Array, "1 H Q S"]
) -> Float[Array, "B H Q S"]:
    """A plain sum whose gradient adds up the batch by a matrix product.

    XLA's CPU code for that sum over the leading axis takes a third of the time of a small model's
    attention, forward and backward.
    """
    return scores_BxHxQxS + bias_1xHxQxS


def _add_position_bias_forward(scores: Array, bias: Array) -> tuple[Array, None]:
    return scores + bias, None


def _add_position_bias_backward(_: None, gradient_BxHxQxS: Array) -> tuple[Array, Array]:
    B, *shape = gradient_BxHxQxS.shape
    ones_1xB = jnp.ones((1, B), gradient_BxHxQxS.dtype)
    return gradient_BxHxQxS, (ones_1xB @ gradient_BxHxQxS.reshape(B, -1)).reshape(1, *shape)


_add_position_bias.defvjp(_add_position_bias_forward, _add_position_bias_backward)


class GatedMlp(nn.Module):
    """wo(gelu(wi_0 x) * wi_1 x), with the tanh form of GELU (Shazeer, 2020)."""

    config: T5Sizes

    @nn.compact
    def __call__(
        self, x_BxQxD: Float[Array, "B Q D"], *, deterministic: bool
    ) -> Float[Array, "B Q D"]:
        config, dtype = self.config, self.config.activation_dtype
        gate_BxQxF = nn.gelu(
            Dense(config.mlp_dim, dtype=dtype, name="wi_0")(x_BxQxD), approximate=True
        )
        hidden_BxQxF = gate_BxQxF * Dense(config.mlp_dim, dtype=dtype, name="wi_1")(x_BxQxD)
        hidden_BxQxF = length_dropout(config)(hidden_BxQxF, deterministic=deterministic)
        return Dense(config.emb_dim, dtype=dtype, name="wo")(hidden_BxQxF)


def length_dropout(config: T5Sizes) -> nn.Dropout:
    """T5's dropout in the residual stream: one mask for all positions of a sequence."""
    return nn.Dropout(config.dropout_rate, broadcast_dims=(-2,))


def relative_position_buckets(
    query_length: int, key_length: int, *, bidirectional: bool
) -> Int[np.ndarray, "Q S"]:
    """T5's buckets: near distances one by one, far ones logarithmically, up to 128 and beyond.

    In the bidirectional form half of the buckets are for keys after the query.
    """
    offset_QxS = np.arange(key_length)[None, :] - np.arange(query_length)[:, None]
    if bidirectional:
        buckets = NUM_BUCKETS // 2
        first_bucket_QxS = np.where(offset_QxS > 0, buckets, 0)
        distance_QxS = np.abs(offset_QxS)
    else:
        buckets = NUM_BUCKETS
        first_bucket_QxS = np.zeros_like(offset_QxS)
        distance_QxS = np.maximum(-offset_QxS, 0)
    exact = buckets // 2
    # float32 and the epsilon decide on which side of a boundary a distance falls: as in T5X.
    ratio = distance_QxS.astype(np.float32) / exact + np.finfo(np.float32).eps
    logarithmic = exact + (np.log(ratio) / np.log(MAX_DISTANCE / exact) * (buckets - exact)).astype(
        np.int32
    )
    bucket_QxS = np.where(distance_QxS < exact, distance_QxS, np.minimum(logarithmic, buckets - 1))
    return (first_bucket_QxS + bucket_QxS).astype(np.int32)


class RelativePositionBias(nn.Module):
    """A learned score for each head and bucket of distance; one table for a whole stack."""

    config: T5Sizes
    bidirectional: bool

    @nn.compact
    def __call__(self, query_length: int, key_length: int) -> Float[Array, "1 H Q S"]:
        table_HxR = self.param(
            "rel_embedding", _RELPOS_INIT, (self.config.num_heads, NUM_BUCKETS), jnp.float32
        )
        bucket_QxS = relative_position_buckets(
            query_length, key_length, bidirectional=self.bidirectional
        )
        # A product with one-hot columns, because the gradient of a gather is a slow scatter.
        dtype = self.config.activation_dtype
        one_hot_RxQxS = (jnp.arange(NUM_BUCKETS)[:, None, None] == bucket_QxS).astype(dtype)
        return jnp.einsum("hr,rqs->hqs", table_HxR.astype(dtype), one_hot_RxQxS)[None]


def padding_bias(tokens_BxS: Int[Array, "B S"], dtype: jnp.dtype) -> Float[Array, "B 1 1 S"]:
    """Hides the keys whose token is padding."""
    return jnp.where(tokens_BxS > 0, 0.0, MASKED).astype(dtype)[:, None, None, :]


def segment_bias(
    query_segments_BxQ: Int[Array, "B Q"], key_segments_BxS: Int[Array, "B S"], dtype: jnp.dtype
) -> Float[Array, "B 1 Q S"]:
    """Hides the keys of other examples of a packed row; padding is segment 0."""
    same_BxQxS = query_segments_BxQ[:, :, None] == key_segments_BxS[:, None, :]
    return jnp.where(same_BxQxS, 0.0, MASKED).astype(dtype)[:, None]


def causal_bias(length: int, dtype: jnp.dtype) -> Float[Array, "1 1 T T"]:
    """Hides the keys that come after the query."""
    return jnp.where(np.tri(length, dtype=bool), 0.0, MASKED).astype(dtype)[None, None]
