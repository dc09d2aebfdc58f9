"""Semantic item ids: items with similar text share an id prefix.

The idea is TIGER's (Rajput et al., arXiv 2305.05065); the paper leaves it to the future (section
3.1, footnote 3). An item's text becomes a vector, and the vector a few codes, each the nearest
centre to what the codes before it have left over (residual quantisation; k-means for each level,
where TIGER trains an RQ-VAE). The id writes them as `Ia12b7c63`: T5's vocabulary never joins those
letters with digits, so equal codes are equal tokens. Items with the same codes are told apart by a
last number, `d1`, `d2`, ….

Only the catalogue's texts are read: no interaction, held out or not, has any say.
"""

import collections
import dataclasses
import math
from collections.abc import Sequence

import gin
import numpy as np
from jaxtyping import Float, Int64

from recalign.data.catalogue import Catalogue
from recalign.data.semantic_encoder import (
    EMBEDDINGS,
    Embed,
    Embedded,
    SemanticEncoder,
    random_stream,
    tfidf_embeddings,
)
from recalign.errors import UserError

_LETTERS = "abcdefgh"
_OF_CHANCE = 100  # a stream of random numbers that no level has


@dataclasses.dataclass(frozen=True)
class SemanticIds:
    """Ids made of codes, and how well the codes tell the items apart."""

    ids: list[str]  # in index order, each once
    embed: str  # name of the function that made the vectors
    codebook_size: int  # centres a level
    collision_rate: float  # share of the items whose codes are another item's too
    codebook_use: list[float]  # of each level, the share of its centres that any item has
    # Of each level but the last, the share of the items whose category is the most frequent one
    # among the items with the same codes so far; None without categories.
    prefix_purity: list[float] | None
    chance_purity: list[float] | None  # the same for groups of the same sizes, filled at random
    # What gives other texts codes; None where `embed` is none of recalign's, or learned nothing.
    encoder: SemanticEncoder | None = None

    def figures(self) -> dict:
        """What `dataset.json` keeps: all but the ids and the encoder."""
        return {key: value for key, value in vars(self).items() if key not in ("ids", "encoder")}

    def lines(self) -> list[str]:
        """What a person should know."""
        use = ", ".join(f"{share:.0%}" for share in self.codebook_use)
        lines = [
            f"semantic ids ({self.embed}): {len(self.codebook_use)} codes of {self.codebook_size}; "
            f"{self.collision_rate:.1%} of the items share all codes with another and are numbered",
            f"codebook use: {use} of the centres",
        ]
        if self.prefix_purity and self.chance_purity:
            pairs = enumerate(zip(self.prefix_purity, self.chance_purity, strict=True), 1)
            levels = [
                f"{own:.0%} after {level} (chance {chance:.0%})" for level, (own, chance) in pairs
            ]
            lines.append(f"prefix purity: {', '.join(levels)}")
        return lines


@gin.configurable
def semantic_ids(
    catalogue: Catalogue,
    seed: int,
    *,
    embed: Embed = tfidf_embeddings,
    levels: int = 3,
    codebook_size: int | None = None,
    separator: str = "",
) -> SemanticIds:
    """An id for each item of the catalogue, and figures of them.

    Args:
        catalogue: the items; title, brand, categories and description are read.
        seed: decides the codes; the same items and seed give the same ids.
        embed: texts -> vectors; any function of one's own.
        levels: codes an id, 1 to 7.
        codebook_size: centres a level; None: the power of two that is nearest to the root of the
            number of items, 256 at most (TIGER's).
        separator: what stands between the codes.
    """
    if not 1 <= levels < len(_LETTERS):
        raise UserError(f"semantic_ids.levels = {levels}: 1 to {len(_LETTERS) - 1}")
    if codebook_size is None:
        codebook_size = min(256, 2 ** round(math.log2(max(2, math.sqrt(len(catalogue))))))
    if codebook_size < 1:
        raise UserError(f"semantic_ids.codebook_size = {codebook_size}: 1 or more")
    found = embed(item_texts(catalogue), seed)
    embedded = found if isinstance(found, Embedded) else Embedded(found, None)
    vectors = np.asarray(embedded.vectors, np.float64)
    if vectors.ndim != 2 or len(vectors) != len(catalogue) or not np.isfinite(vectors).all():
        raise UserError(
            f"semantic_ids.embed gave an array of shape {list(vectors.shape)}: {len(catalogue)}"
            " finite vectors are needed, one an item"
        )
    codes, centres = residual_codes(vectors, levels, codebook_size, seed)
    name = getattr(embed, "__name__", type(embed).__name__)
    _, number, items = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    purity, chance = _purity(codes, catalogue, seed)
    return SemanticIds(
        ids=_written(codes, separator),
        embed=name,
        codebook_size=codebook_size,
        collision_rate=float((items[number.ravel()] > 1).mean()),
        codebook_use=[len(np.unique(level)) / codebook_size for level in codes.T],
        prefix_purity=purity,
        chance_purity=chance,
        encoder=_encoder(name, embedded, centres),
    )


def _encoder(
    name: str, embedded: Embedded, centres: Sequence[Float[np.ndarray, "C D"]]
) -> SemanticEncoder | None:
    learns = name == tfidf_embeddings.__name__
    if name not in EMBEDDINGS or (embedded.learned is None) is learns:
        return None
    return SemanticEncoder(name, embedded.learned, [it.astype(np.float32) for it in centres])


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
) -> tuple[Int64[np.ndarray, "items levels"], list[Float[np.ndarray, "C size"]]]:
    """Quantises each float64 vector, then what is left of it, and so on: the codes, each from 0 to
    below `codebook_size`, and the centres of each level, fewer where fewer vectors differ."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    codes = np.zeros((len(vectors), levels), np.int64)
    centres = []
    left = vectors.copy()
    for level in range(levels):
        # Rounded, so that vectors that differ by rounding alone count as one.
        distinct = len(np.unique(left.round(9), axis=0))
        clusters = KMeans(
            min(codebook_size, distinct), n_init=1, random_state=random_stream(seed, level + 1)
        )
        # One thread: the order of a parallel sum is not the same twice.
        with threadpool_limits(1):
            codes[:, level] = clusters.fit_predict(left)
        left -= clusters.cluster_centers_[codes[:, level]]
        centres.append(clusters.cluster_centers_)
    return codes, centres


def _purity(
    codes: Int64[np.ndarray, "items levels"], catalogue: Catalogue, seed: int
) -> tuple[list[float], list[float]] | tuple[None, None]:
    """Prefix purity and chance, a figure for each level but the last (of one level, for that).

    An item's category is its first that fewer than half of all items have: "Toys & Games" tells
    nothing. Items without one are left out.
    """
    named = catalogue.table["categories"].to_pylist()
    counts = collections.Counter(name for names in named for name in set(names or ()))
    category = [
        next((name for name in names or () if 2 * counts[name] < len(named)), "") for names in named
    ]
    known = np.array([bool(name) for name in category])
    if not known.any():
        return None, None
    classes = np.unique(np.array(category)[known], return_inverse=True)[1]
    shuffled = random_stream(seed, _OF_CHANCE).permutation(classes)
    purity, chance = [], []
    for level in range(1, max(2, codes.shape[1])):
        group = np.unique(codes[known, :level], axis=0, return_inverse=True)[1].ravel()
        purity.append(_majority(group, classes))
        chance.append(_majority(group, shuffled))
    return purity, chance


def _majority(group: Int64[np.ndarray, " items"], classes: Int64[np.ndarray, " items"]) -> float:
    """The share of the items that are of their group's most frequent class.

    >>> _majority(np.array([0, 0, 0, 1]), np.array([5, 5, 6, 6]))
    0.75
    """
    pairs, counts = np.unique(np.stack([group, classes]), axis=1, return_counts=True)
    most = np.zeros(group.max() + 1, np.int64)
    np.maximum.at(most, pairs[0], counts)
    return float(most.sum() / len(group))


def _written(codes: Int64[np.ndarray, "items levels"], separator: str = "") -> list[str]:
    """The ids of codes; the second, third, … item of the same codes gets one more.

    >>> _written(np.array([[3, 1], [0, 2], [3, 1]]))
    ['Ia3b1', 'Ia0b2', 'Ia3b1c1']
    """
    seen: dict[tuple[int, ...], int] = {}
    ids = []
    for row in map(tuple, codes.tolist()):
        repeats = seen[row] = seen.get(row, -1) + 1
        ids.append(id_of_codes(row, repeats, separator))
    return ids


def id_of_codes(codes: Sequence[int], repeats: int, separator: str = "") -> str:
    """The id of an item, and how many with the same codes came before it.

    >>> id_of_codes([3, 1], 0), id_of_codes([3, 1], 2, "_")
    ('Ia3b1', 'Ia3_b1_c2')
    """
    parts = [f"{letter}{code}" for letter, code in zip(_LETTERS, codes, strict=False)]
    if repeats:
        parts.append(f"{_LETTERS[len(codes)]}{repeats}")
    return "I" + separator.join(parts)
