"""T5X's encoder-decoder model with recalign's beam search.

T5X gives every beam its own copy of the encoder's output and of the cross-attention keys and
values; here the beams of an example share them. Beams and scores are the same.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from t5x import models
from t5x.examples.t5 import network

from recalign.errors import UserError
from recalign.model.decode import Beams, beam_decode
from recalign.model.names import from_t5x
from recalign.model.t5.config import T5Config
from recalign.model.t5.sizes import SIZES

_TAKEN_OVER = (*SIZES, "float32_attention_logits", "logits_via_embedding")


class FastDecodingModel(models.EncoderDecoderModel):
    """A configured T5X model that decodes by `recalign.model.decode`; all else stays T5X's.

    Parameters keep T5X's names and sharding: they are stacked by layer inside the compiled step.
    """

    def __init__(self, model: models.EncoderDecoderModel):
        """Takes over `model`: its module, vocabularies, optimizer, loss and decoder parameters."""
        self.__dict__.update(model.__dict__)
        self._config = own_config(model.module)

    def predict_batch_with_aux(
        self,
        params: Mapping[str, Any],
        batch: Mapping[str, jnp.ndarray],
        rng: jax.Array | None = None,
        decoder_params: Mapping[str, Any] | None = None,
        return_all_decodes: bool | None = None,
        num_decodes: int | None = None,
        prompt_with_targets: bool = False,
    ) -> tuple[Int[Array, "B *K T"], dict[str, Float[Array, "B *K"]]]:
        """Beams ascending, best last, and their "scores" and "log_probs"; see T5X's method.

        `params` are in T5X's names; of the features "encoder_input_tokens" and the length of
        "decoder_input_tokens" are read. `decoder_params` may have "alpha" and "eos_id".
        `return_all_decodes`: all beams [B, K, T], or the best [B, T]. Nothing is sampled by `rng`.
        """
        del rng
        if prompt_with_targets:
            raise UserError("the fast decoder has no prompt_with_targets: use T5X's own decoder")
        options = {"eos_id": self.output_vocabulary.eos_id or 1, **(decoder_params or {})}
        if unknown := set(options) - {"alpha", "eos_id"}:
            raise UserError(f"the fast decoder has no {', '.join(sorted(unknown))}")
        defaults = self._default_decoder_params
        if return_all_decodes is None:
            return_all_decodes = defaults.return_all_decodes
        beams = self.search(
            from_t5x(params),
            batch,
            beam_size=defaults.num_decodes if num_decodes is None else num_decodes,
            **options,
        )
        tokens, scores, log_probs = beams.tokens_BxKxT, beams.scores_BxK, beams.log_probs_BxK
        if not return_all_decodes:
            tokens, scores, log_probs = tokens[:, -1], scores[:, -1], log_probs[:, -1]
        return tokens, {"scores": scores, "log_probs": log_probs}

    def search(self, params: dict, batch: Mapping[str, jnp.ndarray], **options: Any) -> Beams:
        """The beams of a batch; `params` in recalign's names."""
        return beam_decode(
            params,
            self._config,
            batch["encoder_input_tokens"],
            max_decode_len=batch["decoder_input_tokens"].shape[1],
            **options,
        )


def own_config(module: network.Transformer) -> T5Config:
    """recalign's configuration of T5X's network, which has to be a T5 1.1."""
    if not isinstance(module, network.Transformer):
        raise UserError(
            f"the fast decoder needs t5x.examples.t5.network.Transformer, not {type(module)}"
        )
    config = module.config
    if tuple(config.mlp_activations) != ("gelu", "linear"):
        raise UserError("the fast decoder needs a T5 1.1: mlp_activations = ('gelu', 'linear')")
    sizes = {name: getattr(config, name) for name in _TAKEN_OVER}
    return T5Config(**sizes, dtype=jnp.dtype(config.dtype).name, dropout_rate=0.0)
