"""Popularity: every user gets the items that were bought most often in the train split.

Counts come from the train parts only. A user's own earlier items stay in the list of a retrieval:
the paper's candidates are the entire dataset. Ties: the lower catalogue index first.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


def retrieval_ranks(
    train_counts: Int[np.ndarray, "N"], targets: Int[np.ndarray, "U"]
) -> Int[np.ndarray, "U"]:
    """0-based rank of each user's target among all N items."""
    order = np.argsort(-train_counts, kind="stable")
    rank_of_item = np.empty(len(order), np.int64)
    rank_of_item[order] = np.arange(len(order))
    return rank_of_item[targets]


def scores(
    train_counts: Int[np.ndarray, "N"], items: Int[np.ndarray, "..."]
) -> Float[np.ndarray, "..."]:
    """The score of each of `items`, candidates of a ranking or targets of a rating."""
    return train_counts[items].astype(np.float64)
