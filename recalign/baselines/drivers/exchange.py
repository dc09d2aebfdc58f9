"""The files between recalign and a library's process: a question goes in, an answer comes out.

Both sides use this module, recalign as part of itself and a driver as the file beside it, so it
needs nothing but numpy. A question is a folder with `question.json` and `question.npz`, an answer
`answer.json` and `answer.npz` in the same folder.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Parts:
    """What each of U users had, in time order: user u's is items[splits[u] : splits[u + 1]]."""

    items: np.ndarray  # int32 [n], catalogue indices
    splits: np.ndarray  # int64 [U + 1]

    def of(self, user: int) -> np.ndarray:
        """One user's items."""
        return self.items[self.splits[user] : self.splits[user + 1]]

    def users(self) -> np.ndarray:
        """The user of every item: int64 [n]."""
        return np.repeat(np.arange(len(self.splits) - 1), np.diff(self.splits))


@dataclasses.dataclass(frozen=True)
class Question:
    """A split, and what to learn from it and to score.

    Users are rows 0..U-1, items are catalogue indices 0..num_items-1. A model that scores items
    answers for `test_users` (the rank of `test_items` among all items) and for `pools`; a model of
    ratings answers for the pairs (`test_users`, `test_items`).
    """

    model: str  # the system's name
    settings: dict[str, Any]  # the library's own settings of it
    seed: int
    epochs: int  # the most it may train
    history_length: int  # how many of a user's last items a sequential model sees
    leave_out_seen: bool  # whether a user's earlier items are taken out of the ranking of all items
    num_items: int
    train: Parts  # the training parts, all that is learned from
    seen: Parts  # training and validation parts, what is known of a user at the test item
    valid_users: np.ndarray  # int [V], to stop by, as valid_items
    valid_items: np.ndarray
    test_users: np.ndarray  # int [T], as test_items
    test_items: np.ndarray
    pool_users: np.ndarray  # int [P]
    pools: np.ndarray  # int32 [P, C], the candidates of each
    features: Parts  # of every item the numbers of its features (words, categories)
    # 1 for a like, of models of ratings alone, else empty.
    train_likes: np.ndarray  # int8 [n], aligned with train.items
    valid_likes: np.ndarray  # int8 [V]

    @property
    def num_users(self) -> int:
        return len(self.train.splits) - 1

    @property
    def rates(self) -> bool:
        """Whether likes are to be learned, not the next item."""
        return len(self.train_likes) > 0

    def write(self, folder: pathlib.Path) -> None:
        plain: dict[str, Any] = {}
        arrays: dict[str, Any] = {}
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                arrays[name] = value
            elif isinstance(value, Parts):
                arrays |= {f"{name}/{half}": array for half, array in vars(value).items()}
            else:
                plain[name] = value
        (folder / "question.json").write_text(json.dumps(plain))
        np.savez(folder / "question.npz", **arrays)

    @classmethod
    def read(cls, folder: pathlib.Path) -> Question:
        """Reads what `write` wrote."""
        values: dict[str, Any] = json.loads((folder / "question.json").read_text())
        parts: dict[str, dict[str, np.ndarray]] = {}
        with np.load(folder / "question.npz") as arrays:
            for name in arrays.files:
                field, _, half = name.partition("/")
                if half:
                    parts.setdefault(field, {})[half] = arrays[name]
                else:
                    values[field] = arrays[name]
        values |= {field: Parts(**halves) for field, halves in parts.items()}
        return cls(**values)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a model made of a question; an array that was not asked for is empty."""

    ranks: np.ndarray  # int64 [T], 0-based rank of each test item among all items
    pool_scores: np.ndarray  # float64 [P, C]
    scores: np.ndarray  # float64 [T], how likely each test pair is a like
    # {"version": the library's, "epochs": of the model that was kept, and what else is worth
    # telling, such as the figures of the library itself}.
    about: dict[str, Any]

    def write(self, folder: pathlib.Path) -> None:
        values = dict(vars(self))
        (folder / "answer.json").write_text(json.dumps(values.pop("about")))
        np.savez(folder / "answer.npz", **values)

    @classmethod
    def read(cls, folder: pathlib.Path) -> Answer:
        """Reads what `write` wrote."""
        with np.load(folder / "answer.npz") as arrays:
            return cls(**arrays, about=json.loads((folder / "answer.json").read_text()))


def target_ranks(
    scores: np.ndarray, targets: np.ndarray, seen: list[np.ndarray] | None
) -> np.ndarray:
    """0-based rank of each target among all items, int64 [B]; ties: the lower catalogue index.

    Of `scores`, float [B, N], and `targets`, int [B]; `seen` are the items of each of the B users
    that are taken out of the list, except a target.

    Raises:
      ValueError: a target has no finite score.
    """
    rows = np.arange(len(targets))
    of_target = scores[rows, targets][:, np.newaxis]
    if not np.isfinite(of_target).all():
        raise ValueError("the model gave an item a score that is no finite number")
    ahead = scores > of_target
    ahead |= (scores == of_target) & (np.arange(scores.shape[1]) < targets[:, np.newaxis])
    if seen is not None:
        for row, items in enumerate(seen):
            ahead[row, items] = False
    return ahead.sum(axis=1)


def validation_ndcg(
    question: Question, score_users: Callable[[np.ndarray], np.ndarray], batch_size: int = 512
) -> float:
    """NDCG@10 of the validation users, the items of their training part left out.

    `score_users`: int [B] -> float [B, num_items], B at most `batch_size`.
    """
    gains = 0.0
    for start in range(0, len(question.valid_users), batch_size):
        span = slice(start, start + batch_size)
        users = question.valid_users[span]
        seen = [question.train.of(user) for user in users]
        ranks = target_ranks(score_users(users), question.valid_items[span], seen)
        gains += float((1.0 / np.log2(ranks[ranks < 10] + 2.0)).sum())
    return gains / max(len(question.valid_users), 1)


def answer_items(
    question: Question,
    score_users: Callable[[np.ndarray], np.ndarray],
    about: dict[str, Any],
    batch_size: int = 512,
) -> Answer:
    """Asks a model for the scores of all items: int [B] -> float [B, num_items]."""
    ranks = np.zeros(len(question.test_users), np.int64)
    pool_scores = np.zeros(question.pools.shape)
    place_of_test = dict(zip(question.test_users.tolist(), range(len(ranks)), strict=True))
    place_of_pool = dict(zip(question.pool_users.tolist(), range(len(pool_scores)), strict=True))
    users = np.union1d(question.test_users, question.pool_users)
    for start in range(0, len(users), batch_size):
        batch = users[start : start + batch_size]
        scores = score_users(batch)
        tested = [row for row, user in enumerate(batch.tolist()) if user in place_of_test]
        places = [place_of_test[user] for user in batch[tested].tolist()]
        seen = [question.seen.of(user) for user in batch[tested]]
        left_out = seen if question.leave_out_seen else None
        ranks[places] = target_ranks(scores[tested], question.test_items[places], left_out)
        for row, user in enumerate(batch.tolist()):
            if user in place_of_pool:
                place = place_of_pool[user]
                pool_scores[place] = scores[row, question.pools[place]]
    return Answer(ranks, pool_scores, np.zeros(0), about)
