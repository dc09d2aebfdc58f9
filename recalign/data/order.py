"""The order of time, and one interaction for each pair of user and item."""

import numpy as np
from jaxtyping import Int64

from recalign.data.interactions import Interactions


def time_order(log: Interactions) -> Int64[np.ndarray, " n"]:
    """Positions of the log that put it user by user, each user's interactions in time order.

    Users come in order of first appearance in the log. Interactions of one user with the same
    timestamp keep the order of the file, as all do where the log has no timestamps.
    """
    if log.timestamp is None:
        return np.argsort(log.user, kind="stable")
    return np.lexsort((log.timestamp, log.user))


def first_interactions(
    log: Interactions, order: Int64[np.ndarray, " n"]
) -> Int64[np.ndarray, " m"]:
    """`order` without a user's repeats of an item: the earliest interaction stays.

    The paper's 5-core logs hold at most one review for a pair of user and item. With repeats, a
    target that the history already shows would be no discovery, and a k-core would count one
    devoted user k times.
    """
    pairs = log.user[order].astype(np.int64) * len(log.item_ids) + log.item[order]
    # A stable sort puts the earliest of equal pairs first, which np.unique promises to return.
    _, first = np.unique(pairs, return_index=True)
    return order[np.sort(first)]
