"""Trains a model of Cornac and answers a question with it.

    python cornac_driver.py FOLDER

Runs in Cornac's environment. Cornac stops by no validation of its own, so the epochs come in
rounds, and the round with the best NDCG@10 on the validation users is kept.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable

import cornac
import numpy as np
from exchange import Question, answer_items, validation_ndcg

Scorer = Callable[[np.ndarray], np.ndarray]

_ROUND = 10
"""Epochs between two looks at the validation users."""

_PATIENCE = 3
"""Rounds without a better validation before training stops."""


def main(folder: pathlib.Path) -> None:
    """Question in, answer out."""
    question = Question.read(folder)
    pairs = zip(question.train.users().tolist(), question.train.items.tolist(), strict=True)
    train = cornac.data.Dataset.from_uir([(user, item, 1.0) for user, item in pairs])
    users, items = np.array(list(train.user_ids)), np.array(list(train.item_ids))
    model = getattr(cornac.models, question.model)(
        max_iter=_ROUND, seed=question.seed, **question.settings
    )
    best, best_round = -1.0, 0
    for number in range(1, -(-question.epochs // _ROUND) + 1):
        model.max_iter = min(_ROUND, question.epochs - (number - 1) * _ROUND)
        model.fit(train)
        now = _scorer(question, users, items, model)
        quality = validation_ndcg(question, now)
        print(f"epoch {(number - 1) * _ROUND + model.max_iter}: validation NDCG@10 {quality:.4f}")
        if quality > best:
            best, best_round, kept = quality, number, now
        elif number - best_round >= _PATIENCE:
            break
    about = {
        "version": cornac.__version__,
        "epochs": min(best_round * _ROUND, question.epochs),
        "validation_ndcg@10": best,
    }
    answer_items(question, kept, about).write(folder)


def _scorer(
    question: Question, users: np.ndarray, items: np.ndarray, model: cornac.models.BPR
) -> Scorer:
    """The model as it is now. Cornac counts users and items its own way: its number n is our
    users[n] or items[n]. An item that nobody trained on comes last."""
    place = np.zeros(question.num_users, np.int64)
    place[users] = np.arange(len(users))
    of_users, of_items = model.u_factors.copy(), model.i_factors.copy()
    biases = model.i_biases.copy()

    def score(batch: np.ndarray) -> np.ndarray:
        known = of_users[place[batch]] @ of_items.T + biases
        scores = np.repeat(known.min(axis=1, keepdims=True) - 1.0, question.num_items, axis=1)
        scores[:, items] = known
        return scores

    return score


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve())
