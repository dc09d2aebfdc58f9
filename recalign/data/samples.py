"""How many samples a user gives: the one place where the paper's Table 10 is counted."""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Int64

from recalign.errors import UserError

_NEXT_ITEM = ("retrieval", "ranking", "rating", "bpr", "p5_sequential")
_EVALUATED = ("retrieval", "ranking", "rating", "p5_sequential", "p5_direct", "p5_rating", "tiger")
_Samples = Callable[[np.ndarray, int], np.ndarray]


def _every_prefix(length: np.ndarray, _: int) -> np.ndarray:
    return np.maximum(0, length - 1)


_TRAINING: Mapping[str, _Samples] = {
    **dict.fromkeys(
        _NEXT_ITEM, lambda length, w: np.where(length < 2, 0, np.maximum(1, length - w))
    ),
    **dict.fromkeys(("tiger", "after"), _every_prefix),
    "together": lambda length, w: np.where(length < 2, 0, length),
    "mim": lambda length, w: np.where(length < 1, 0, np.maximum(1, length - w + 1)),
    "mlm": lambda length, w: np.where(length < 2, 0, np.maximum(1, length - w + 1)),
    "p5_direct": lambda length, w: np.minimum(length, 1),
    "p5_rating": lambda length, w: length,
}
"""Task -> training samples by the length of the training part and of a history."""


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
    rule = _TRAINING[task]
    if split in ("validation", "test"):
        return np.full(len(lengths), int(task in _EVALUATED), np.int64)
    if split != "train":
        raise KeyError(split)
    if every_prefix and task in _NEXT_ITEM:
        rule = _every_prefix
    return rule(lengths, history_length)
