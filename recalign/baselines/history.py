"""History: how likely a user likes what they bought, whatever the item (the paper, section 4.1)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


def scores(
    train_users: Int[np.ndarray, "n"],
    train_likes: Int[np.ndarray, "n"],
    users: Int[np.ndarray, "T"],
) -> Float[np.ndarray, "T"]:
    """The share of likes among the training items of each of `users`.

    Args:
      train_users: whose each training interaction is.
      train_likes: 1 for a like.
      users: of the test pairs; each has at least one training item, which `prepare` sees to.
    """
    size = int(max(train_users.max(), users.max())) + 1
    counts = np.bincount(train_users, minlength=size)
    likes = np.bincount(train_users, weights=train_likes, minlength=size)
    return likes[users] / counts[users]
