"""The iterated k-core: users and items with too few interactions leave, until none is left."""

import numpy as np
from jaxtyping import Bool, Int32


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
