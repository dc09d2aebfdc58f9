"""A network of one's own: a decoder that reads prompt and answer as one causal sequence.

It needs no positions: under a causal mask a decoder finds them by itself (Kazemnejad et al., 2023).
Shape letters: see `recalign.model.network`; S the whole sequence, D width, H heads, C size of one.
"""

import dataclasses

import gin
import jax
import jax.numpy as jnp

from recalign.model.network import Network, shift_right
from recalign.model.slots import MASKED, Cache


@gin.configurable
@dataclasses.dataclass(frozen=True)
class DecoderOnly(Network):
    """`layers` of attention and a feed-forward block each, `heads * head_dim` wide."""

    vocab_size: int = 640
    layers: int = 2
    heads: int = 2
    head_dim: int = 8
    dropout_rate: float = 0.0
    remat: bool | str = False

    def init(self, key):
        D, N = self.heads * self.head_dim, self.layers
        sizes = {
            "query": (N, D, D), "key": (N, D, D), "value": (N, D, D), "out": (N, D, D),
            "wi_0": (N, D, 2 * D), "wo": (N, 2 * D, D),
        }  # fmt: skip
        keys = dict(zip(["embedding", *sizes], jax.random.split(key, 7), strict=True))
        layers = {
            name: {"kernel": jax.random.normal(keys[name], size) * size[1] ** -0.5}
            for name, size in sizes.items()
        }
        layers |= {name: {"scale": jnp.ones((N, D))} for name in ("attention_norm", "mlp_norm")}
        table = jax.random.normal(keys["embedding"], (self.vocab_size, D))
        return {
            "token_embedder": {"embedding": table},
            "decoder": {"layers": layers, "decoder_norm": {"scale": jnp.ones(D)}},
        }

    def logits(self, params, batch, dropout_key):
        inputs, targets = batch["inputs"], batch["targets"]
        inside = batch.get("inputs_segment_ids", inputs > 0)
        segments = batch.get("targets_segment_ids")
        read = jnp.concatenate([inputs, shift_right(targets, segments)], axis=1)
        ones = jnp.ones_like(targets) if segments is None else segments
        segment_BxS = jnp.concatenate([inside.astype(jnp.int32), ones], axis=1)
        x = params["token_embedder"]["embedding"][read]
        if dropout_key is not None:
            keep = jax.random.bernoulli(dropout_key, 1 - self.dropout_rate, (*read.shape, 1))
            x = jnp.where(keep, x / (1 - self.dropout_rate), 0)
        x, _ = self._read(params, x, segment_BxS)
        return self._output(params, x[:, inputs.shape[1] :])

    def start(self, params, inputs_BxL, beams, max_decode_len):
        x = params["token_embedder"]["embedding"][inputs_BxL]
        _, prompt = self._read(params, x, (inputs_BxL > 0).astype(jnp.int32))
        seen_Bx1x1xL = jnp.where(inputs_BxL > 0, 0.0, MASKED)[:, None, None]
        cache = Cache.empty(
            self.layers, len(inputs_BxL), beams, max_decode_len, (self.heads, self.head_dim),
            jnp.float32,
        )  # fmt: skip
        return (prompt, seen_Bx1x1xL), cache

    def step(self, params, memory, cache, tokens_BxK, position):
        prompt, seen_Bx1x1xL = memory
        slot_BxKxT, own_Bx1xKxS = cache.at(position)
        seen_Bx1xKxL = jnp.broadcast_to(
            seen_Bx1x1xL, (*own_Bx1xKxS.shape[:3], seen_Bx1x1xL.shape[3])
        )
        bias = jnp.concatenate([seen_Bx1xKxL, own_Bx1xKxS], axis=-1)
        first = position * cache.slots

        def layer(x, of_layer):
            params, (old_keys, old_values), keys, values = of_layer

            def attend(query, key, value):
                mine = [
                    jax.lax.dynamic_update_slice(slots, new, (0, first, 0, 0))
                    for slots, new in ((keys, key), (values, value))
                ]
                every = [
                    jnp.concatenate(pair, axis=1)
                    for pair in zip((old_keys, old_values), mine, strict=True)
                ]
                return _attention(query, *every, bias), mine

            return self._layer(params, x, attend)

        x, (keys, values) = jax.lax.scan(
            layer,
            params["token_embedder"]["embedding"][tokens_BxK],
            (params["decoder"]["layers"], prompt, cache.keys_NxBxSxHxC, cache.values_NxBxSxHxC),
        )
        return self._output(params, x), Cache(keys, values, slot_BxKxT)

    def reorder(self, cache, beams_BxK):
        return cache.reordered(beams_BxK)

    def _read(self, params, x, segment_BxS):
        """What follows each place of a sequence, and every layer's keys and values of it."""
        same = segment_BxS[:, :, None] == segment_BxS[:, None, :]
        sees_BxSxS = same & jnp.tri(x.shape[1], dtype=bool)
        bias = jnp.where(sees_BxSxS, 0.0, MASKED)[:, None]

        def layer(x, params):
            return self._layer(params, x, lambda q, k, v: (_attention(q, k, v, bias), (k, v)))

        return jax.lax.scan(layer, x, params["decoder"]["layers"])

    def _layer(self, params, x, attend):
        normed = _norm(x, params["attention_norm"]["scale"])
        query, key, value = (
            (normed @ params[name]["kernel"]).reshape(*x.shape[:2], self.heads, self.head_dim)
            for name in ("query", "key", "value")
        )
        mixed, kept = attend(query, key, value)
        x += mixed.reshape(x.shape) @ params["out"]["kernel"]
        hidden = _norm(x, params["mlp_norm"]["scale"]) @ params["wi_0"]["kernel"]
        return x + jax.nn.gelu(hidden) @ params["wo"]["kernel"], kept

    def _output(self, params, x):
        x = _norm(x, params["decoder"]["decoder_norm"]["scale"])
        return x @ params["token_embedder"]["embedding"].T * x.shape[-1] ** -0.5


def _attention(query_BxQxHxC, key_BxSxHxC, value_BxSxHxC, bias_Bx1xQxS):
    scores = jnp.einsum("bqhc,bshc->bhqs", query_BxQxHxC, key_BxSxHxC)
    weights = jax.nn.softmax(scores * query_BxQxHxC.shape[-1] ** -0.5 + bias_Bx1xQxS)
    return jnp.einsum("bhqs,bshc->bqhc", weights, value_BxSxHxC)


def _norm(x, scale_D):
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6) * scale_D
