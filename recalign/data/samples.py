"""How many samples a user gives: the one place where the paper's Table 10 is counted."""

import numpy as np
from jaxtyping import Int64

from recalign.errors import UserError

PREFIX_TASKS = ("tiger",)
"""Tasks about every item of a user but the first, with a window of those before it, always."""

NEXT_ITEM_TASKS = ("retrieval", "ranking", "rating", "bpr", "p5_sequential", *PREFIX_TASKS)
"""Tasks about the item that follows a window."""

WINDOW_TASKS = ("mim", "mlm")
"""Tasks about the items of a window."""

FOLLOWED_TASKS = ("after",)
"""Tasks about an item that has one after it, whatever the user had before."""

COMPANION_TASKS = ("together",)
"""Tasks about an item that has another beside it in a user's sequence."""

USER_TASKS = ("p5_direct",)
"""Tasks with a sample a user, about an item of the training part that is drawn anew each time."""

INTERACTION_TASKS = ("p5_rating",)
"""Tasks with a sample for each interaction."""

EVALUATED_TASKS = (
    *("retrieval", "ranking", "rating", "p5_sequential", "p5_direct", "p5_rating"),
    *PREFIX_TASKS,
)
"""Tasks with validation and test samples: one for each user of the split."""


def has_every_prefix(task: str, every_prefix: bool) -> bool:
    """Whether a task's training samples are all items of a user but the first."""
    return task in PREFIX_TASKS or (every_prefix and task in NEXT_ITEM_TASKS)


def samples_per_user(
    task: str,
    lengths: Int64[np.ndarray, " rows"],
    split: str,
    history_length: int,
    every_prefix: bool = False,
) -> Int64[np.ndarray, " rows"]:
    """The number of samples of each user.

    In training, over a training part of M items and a history length of w:

    - retrieval, ranking, rating, bpr: every window of w items with the item after it, so
      max(1, M - w); the whole part is the one sample where M <= w + 1; 0 where M < 2.
    - mim: every window of w items, so max(1, M - w + 1); 0 where M < 1.
    - p5_sequential: as retrieval; p5_direct: 1; p5_rating: M.
    - tiger, and with `every_prefix` all of retrieval, ranking, rating, bpr and p5_sequential: every
      item but the first, so max(0, M - 1), as sequential recommenders have it.
    - after: every item but the last, so max(0, M - 1); together: M, but 0 where M < 2.
    - mlm: as many as mim, but 0 where M < 2: a sub-sequence has at least two items.

    In validation and test: one of each recommendation task, none of the others.

    Args:
        task: one of the tasks named above.
        lengths: int64 [R], the number of `items` in each record of the split (train: the training
            part; validation and test: history and target).
        split: "train", "validation" or "test".
        history_length: w, at least 1.
        every_prefix: whether every item but a user's first is predicted from those before it.

    Raises:
        UserError: a history length below 1.
        KeyError: an unknown task or split.
    """
    lengths = np.asarray(lengths, np.int64)
    if history_length < 1:
        raise UserError(f"history_length {history_length}: a history has at least 1 item")
    pairs = FOLLOWED_TASKS + COMPANION_TASKS
    if task not in NEXT_ITEM_TASKS + WINDOW_TASKS + pairs + USER_TASKS + INTERACTION_TASKS:
        raise KeyError(task)
    if split in ("validation", "test"):
        return np.full(len(lengths), int(task in EVALUATED_TASKS), np.int64)
    if split != "train":
        raise KeyError(split)
    if task in COMPANION_TASKS:
        return np.where(lengths < 2, 0, lengths)
    if task in FOLLOWED_TASKS or has_every_prefix(task, every_prefix):
        return np.maximum(0, lengths - 1)
    if task in NEXT_ITEM_TASKS:
        return np.where(lengths < 2, 0, np.maximum(1, lengths - history_length))
    if task in USER_TASKS:
        return np.minimum(lengths, 1)
    if task in INTERACTION_TASKS:
        return lengths
    shortest = 2 if task == "mlm" else 1
    return np.where(lengths < shortest, 0, np.maximum(1, lengths - history_length + 1))
