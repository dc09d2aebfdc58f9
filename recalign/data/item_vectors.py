"""A vector an item, from its text or from what is bought before and after it.

A model from random weights sees most items a handful of times. Rows of its embedding that begin
near each other where items are alike let it learn of one item what it is shown of another.
"""

from collections.abc import Callable, Mapping

import numpy as np
import sentencepiece
from jaxtyping import Float

from recalign.data.prepared import PreparedDataset
from recalign.data.semantic_encoder import tfidf_embeddings
from recalign.data.semantic_ids import item_texts
from recalign.errors import UserError

_SPAN = 3
"""Items of a user at most so far apart count as bought one after the other."""


def transition_vectors(dataset: PreparedDataset, size: int, seed: int) -> Float[np.ndarray, "N S"]:
    """Spectral embedding of who is bought shortly before or after whom, in training parts alone.

    Two items of a user that are d <= 3 apart are joined by 1 / d. The matrix of these sums, each
    divided by the root of both items' totals, is reduced by a truncated SVD to at most `size`
    numbers; a row of zeros is an item's that stands beside no other.
    """
    import scipy.sparse as sp
    from sklearn.decomposition import TruncatedSVD

    train = dataset.sequences("train")
    items = len(dataset.catalogue)
    user = np.repeat(np.arange(len(train.rows)), np.diff(train.row_splits))
    joined = sp.csr_array((items, items), dtype=np.float64)
    for distance in range(1, _SPAN + 1):
        together = user[:-distance] == user[distance:]
        ends = train.items[:-distance][together], train.items[distance:][together]
        weights = np.full(len(ends[0]), 1.0 / distance)
        joined = joined + sp.csr_array((weights, ends), joined.shape)
    joined = joined + joined.T
    totals = np.asarray(joined.sum(axis=1)).ravel()
    root = sp.diags_array(np.where(totals > 0, np.maximum(totals, 1e-12) ** -0.5, 0.0))
    size = min(size, items - 1)
    if size < 1:
        return np.zeros((items, 1))
    svd = TruncatedSVD(size, random_state=np.random.RandomState(seed))
    return svd.fit_transform(sp.csr_array(root @ joined @ root))


SOURCES: Mapping[str, Callable[[PreparedDataset, int, int], Float[np.ndarray, "N S"]]] = {
    "text": lambda dataset, size, seed: (
        tfidf_embeddings(item_texts(dataset.catalogue), seed, size=size).vectors
    ),
    "transitions": transition_vectors,
}
"""(dataset, most numbers a vector, seed) -> float64 [N, S]; zeros where nothing is known."""


def token_vectors(
    dataset: PreparedDataset, source: str, size: int, seed: int
) -> Float[np.ndarray, "tokens S"]:
    """A vector for each item token, of mean square 1 a number, or zeros where nothing is known.

    The token of a single item has the item's vector, a code's the mean of those of its items.

    Args:
        dataset: one that was prepared with item tokens.
        source: a key of `SOURCES`.
        size: numbers a vector at most.
        seed: of the randomised SVD.
    """
    tokens, model = dataset.item_tokens, dataset.sentencepiece_model
    if tokens is None or model is None:
        raise UserError(
            f"dataset {dataset.name!r} has no item tokens: ITEM_VECTORS is for one that"
            " `recalign prepare` made with --item_tokens"
        )
    vectors = _scaled(SOURCES[source](dataset, size, seed))
    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=model.read_bytes())
    sums = np.zeros((tokens.count, vectors.shape[1]))
    for pieces, vector in zip(
        tokenizer.EncodeAsIds(list(dataset.catalogue.ids)), vectors, strict=True
    ):
        for piece in pieces:
            sums[piece - tokens.first] += vector
    return _scaled(sums)


def _scaled(vectors: Float[np.ndarray, "N S"]) -> Float[np.ndarray, "N S"]:
    """Each row divided by its root mean square; zeros stay."""
    scale = np.sqrt(np.mean(vectors**2, axis=1, keepdims=True))
    return vectors / np.where(scale > 1e-9, scale, np.inf)
