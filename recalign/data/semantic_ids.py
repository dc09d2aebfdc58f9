"""Semantic item ids: items whose texts are alike get ids that begin alike.

The idea is TIGER's (Rajput et al., arXiv 2305.05065); the paper leaves it to the future (section
3.1, footnote 3). An item's text becomes a vector, and the vector a few codes, each the nearest
centre to what the codes before it have left over (residual quantisation; k-means for each level,
where TIGER trains an RQ-VAE). The id writes them as `Ia12b7c63`: T5's vocabulary never joins those
letters with digits, so equal codes are equal tokens. Items with the same codes are told apart by a
last number, `d1`, `d2`, ….

Only the catalogue's texts are read: no interaction, held out or not, has any say.
"""

import math
from collections.abc import Callable, Sequence

import gin
import numpy as np
from jaxtyping import Float, Int64

from recalign.data.catalogue import Catalogue
from recalign.errors import UserError

Embed = Callable[[Sequence[str], int], Float[np.ndarray, "items size"]]
"""(a text an item, seed) -> a vector an item; alike texts, near vectors."""

_LETTERS = "abcdefgh"


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
    return normalize(TruncatedSVD(size, random_state=_stream(seed, 0)).fit_transform(counts))


@gin.configurable
def semantic_ids(
    catalogue: Catalogue,
    seed: int,
    *,
    embed: Embed = tfidf_embeddings,
    levels: int = 3,
    codebook_size: int | None = None,
    separator: str = "",
) -> list[str]:
    """An id for each item of the catalogue, in index order, each once.

    Args:
        catalogue: the items; title, brand, categories and description are read.
        seed: decides the codes; the same items and seed give the same ids.
        embed: texts -> vectors; any function of one's own.
        levels: codes an id, 1 to 7.
        codebook_size: centres a level; None: the power of two that is nearest to the root of the
            number of items, 256 at most (TIGER's).
        separator: what stands between the codes.

    Raises:
        UserError: impossible settings, or an `embed` that gives no finite vector an item.
    """
    if not 1 <= levels < len(_LETTERS):
        raise UserError(f"semantic_ids.levels = {levels}: 1 to {len(_LETTERS) - 1}")
    if codebook_size is None:
        codebook_size = min(256, 2 ** round(math.log2(max(2, math.sqrt(len(catalogue))))))
    if codebook_size < 1:
        raise UserError(f"semantic_ids.codebook_size = {codebook_size}: 1 or more")
    vectors = np.asarray(embed(item_texts(catalogue), seed), np.float64)
    if vectors.ndim != 2 or len(vectors) != len(catalogue) or not np.isfinite(vectors).all():
        raise UserError(
            f"semantic_ids.embed gave an array of shape {list(vectors.shape)}: {len(catalogue)}"
            " finite vectors are needed, one an item"
        )
    return _written(residual_codes(vectors, levels, codebook_size, seed), separator)


def item_texts(catalogue: Catalogue) -> list[str]:
    """What is known of each item in words, in index order."""
    table = catalogue.table
    columns = (table[name].to_pylist() for name in ("title", "brand", "categories", "description"))
    return [
        " ".join(filter(None, [title, brand, *(categories or []), description]))
        for title, brand, categories, description in zip(*columns, strict=True)
    ]


def residual_codes(
    vectors: Float[np.ndarray, "items size"], levels: int, codebook_size: int, seed: int
) -> Int64[np.ndarray, "items levels"]:
    """Quantises each vector, then what is left of it, and so on.

    Args:
        vectors: float64 [N, D].
        levels: how many codes.
        codebook_size: centres a level; fewer where fewer vectors differ.
        seed: of the first centres.

    Returns:
        int64 [N, levels], each 0..codebook_size-1.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    codes = np.zeros((len(vectors), levels), np.int64)
    left = vectors.copy()
    for level in range(levels):
        # Rounded, so that vectors that differ by rounding alone count as one.
        distinct = len(np.unique(left.round(9), axis=0))
        clusters = KMeans(
            min(codebook_size, distinct), n_init=1, random_state=_stream(seed, level + 1)
        )
        # One thread: the order of a parallel sum is not the same twice.
        with threadpool_limits(1):
            codes[:, level] = clusters.fit_predict(left)
        left -= clusters.cluster_centers_[codes[:, level]]
    return codes


def _stream(seed: int, number: int) -> np.random.RandomState:
    """An independent stream of random numbers; RandomState's never change between versions."""
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence([seed, 2, number])))


def _written(codes: Int64[np.ndarray, "items levels"], separator: str = "") -> list[str]:
    """The ids of codes; the second, third, … item of the same codes gets one more.

    >>> _written(np.array([[3, 1], [0, 2], [3, 1]]))
    ['Ia3b1', 'Ia0b2', 'Ia3b1c1']
    """
    seen: dict[str, int] = {}
    ids = []
    for row in codes.tolist():
        parts = (f"{letter}{code}" for letter, code in zip(_LETTERS, row, strict=False))
        id_ = "I" + separator.join(parts)
        repeats = seen[id_] = seen.get(id_, -1) + 1
        last = f"{separator}{_LETTERS[len(row)]}{repeats}" if repeats else ""
        ids.append(id_ + last)
    return ids
