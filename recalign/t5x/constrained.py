"""The fast decoder along a trie of valid answers: every beam is an answer that the task allows."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from t5x import models

from recalign.model.decode import Beams, beam_decode
from recalign.model.trie import Trie
from recalign.t5x.answers import ANSWERS, FIRST_ITEM, AnswerFeatureConverter
from recalign.t5x.fast import FastDecodingModel
from recalign.t5x.mixture import answers_by_number, registered


class ConstrainedDecodingModel(FastDecodingModel):
    """Retrieval is decoded among all items, ranking among its candidates, rating as its two words.

    Scores are log-probabilities over the whole vocabulary, as without constraint.
    """

    FEATURE_CONVERTER_CLS = AnswerFeatureConverter

    def __init__(
        self,
        model: models.EncoderDecoderModel,
        mixture_or_task_name: str,
        module: str | None = None,
    ):
        """Takes over `model`, to decode a mixture's answers (`mixture.answers_by_number`)."""
        super().__init__(model)
        provider = registered(mixture_or_task_name, module)
        vocabulary = provider.output_features["targets"].vocabulary
        answers = [vocabulary.encode(answer) for answer in answers_by_number(provider)]
        self._trie = Trie.from_sequences(answers, vocabulary.eos_id)
        numbers_1xS = jnp.arange(FIRST_ITEM, self._trie.leaf_S.shape[0])[None]
        self._any_item_1xN = np.asarray(self._trie.node_mask(numbers_1xS))
        # Kept on the host: the compiled step holds them as constants on whatever devices it has.
        self._trie = jax.tree.map(np.asarray, self._trie)

    def search(self, params: dict, batch: Mapping[str, jnp.ndarray], **options: Any) -> Beams:
        """The beams of a batch; `params` in recalign's names."""
        trie = jax.tree.map(jnp.asarray, self._trie)
        answers_BxC = batch[ANSWERS]
        any_item_Bx1 = jnp.all(answers_BxC < 0, axis=1, keepdims=True)
        allowed_BxN = jnp.where(any_item_Bx1, self._any_item_1xN, trie.node_mask(answers_BxC))
        return beam_decode(
            params,
            self._config,
            batch["encoder_input_tokens"],
            max_decode_len=trie.depth,
            trie=trie,
            allowed_BxN=allowed_BxN,
            **options,
        )
