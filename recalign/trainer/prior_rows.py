"""What a prior makes of one history: a row of scores."""

import math
from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

Row = tuple[Int[np.ndarray, " m"], Float[np.ndarray, " m"]]
"""The items that a prior scores above 0, ascending, and their scores."""


def rows_of(scores: sp.csr_array) -> list[Row]:
    """Of each row the items with a score above 0, ascending, and their scores."""
    scores = sp.csr_array(scores)
    scores.eliminate_zeros()
    scores.sort_indices()
    ends = scores.indptr[1:-1]
    return list(zip(np.split(scores.indices, ends), np.split(scores.data, ends), strict=True))


def best_of(prior: Row, count: int) -> Row:
    """The items of the highest scores and these, best first, ties by index; at most `count`."""
    items, scores = prior
    if len(items) > count:
        kept = scores >= np.partition(scores, -count)[-count]
        items, scores = items[kept], scores[kept]
    order = np.argsort(-scores, kind="stable")[:count]
    return items[order], scores[order]


def best_items(prior: Row, count: int) -> Int[np.ndarray, " C"]:
    """The C items of the highest scores, best first, ties by index, filled up with -1."""
    best, _ = best_of(prior, count)
    return np.pad(best, (0, count - len(best)), constant_values=-1).astype(np.int32)


def log_totals(prior: Row, temperatures: Sequence[float]) -> dict[float, float]:
    """{temperature: log of the sum over the catalogue of score^(1 / temperature)}."""
    if not len(prior[1]):
        return dict.fromkeys(temperatures, -math.inf)
    largest = prior[1].max()
    shares = prior[1] / largest
    log_sum = {t: math.log(np.sum(shares ** (1 / t))) for t in temperatures}
    return {t: math.log(largest) / t + log_sum[t] for t in temperatures}
