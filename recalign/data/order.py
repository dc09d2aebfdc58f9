"""The interactions of a log that stay, in the order of time: first of repeats, iterated k-core."""

import numpy as np
from jaxtyping import Bool, Int32, Int64

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
    pairs = _pairs(log, order)
    # A stable sort puts the earliest of equal pairs first, which np.unique promises to return.
    _, first = np.unique(pairs, return_index=True)
    return order[np.sort(first)]


def without_simultaneous(
    log: Interactions, order: Int64[np.ndarray, " n"]
) -> Int64[np.ndarray, " m"]:
    """`order` without a user's repeats of an item at one moment: of those the first stays."""
    if log.timestamp is None:
        return order
    by_pair = np.lexsort((np.arange(len(order)), log.timestamp[order], _pairs(log, order)))
    pairs, times = _pairs(log, order)[by_pair], log.timestamp[order][by_pair]
    again = (pairs[1:] == pairs[:-1]) & (times[1:] == times[:-1])
    stays = np.ones(len(order), bool)
    stays[by_pair[1:][again]] = False
    return order[stays]


def with_repeats(
    log: Interactions, order: Int64[np.ndarray, " n"], kept: Int64[np.ndarray, " k"]
) -> Int64[np.ndarray, " m"]:
    """Those of `order` whose pair of user and item is among those of `kept`."""
    return order[np.isin(_pairs(log, order), _pairs(log, kept))]


def _pairs(log: Interactions, order: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """A number for each pair of user and item."""
    return log.user[order].astype(np.int64) * len(log.item_ids) + log.item[order]


def k_core(
    user: Int32[np.ndarray, " n"],
    item: Int32[np.ndarray, " n"],
    *,
    user_minimum: int,
    item_minimum: int,
) -> Bool[np.ndarray, " n"]:
    """Which interactions survive.

    Dropping an item may leave a user with too few, and the other way round, so the two are dropped
    until every user has at least `user_minimum` and every item at least `item_minimum`
    interactions. The result does not depend on the order in which they are dropped: it is the
    largest such subset.
    """
    keep = np.ones(len(user), bool)
    alive = np.arange(len(user))
    while len(alive):
        users, items = user[alive], item[alive]
        enough = (np.bincount(users)[users] >= user_minimum) & (
            np.bincount(items)[items] >= item_minimum
        )
        if enough.all():
            break
        keep[alive[~enough]] = False
        alive = alive[enough]
    return keep
