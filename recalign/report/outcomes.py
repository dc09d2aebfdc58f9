"""What a system answered each user, as metrics need it, and a metric's value for each user."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float64, Int8, Int64

from recalign.metrics import auc_roc, gains, mean


@dataclasses.dataclass(frozen=True)
class Ranks:
    """Where the answer stood for each user."""

    rows: Int64[np.ndarray, " n"]  # int64 [n], the users' rows in the dataset, ascending
    # float64 [n], from 0; infinity where the answer is not among those given.
    ranks: Float64[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True)
class Scores:
    """How much each user was thought to like the item, and whether they did."""

    rows: Int64[np.ndarray, " n"]  # int64 [n], the users' rows in the dataset, ascending
    scores: Float64[np.ndarray, " n"]  # float64 [n]; a run's are log P(yes) - log P(no)
    labels: Int8[np.ndarray, " n"]  # int8 [n], 1 for like


Outcomes = Ranks | Scores

KINDS = ("retrieval", "ranking", "rating")
"""Of tasks, in the paper's order."""

FUSED = "fused"
DECODINGS = ("", "candidates", "exact", FUSED)
"""Ways to an answer: the beams as they come, beams within the pool, no search but the exact
probability of every candidate or of both words, and retrieval joined with a prior. The ending of a
metric's name says which."""

_OTHERS = ("num_examples", "valid_")

DRAW = 1 << 32
"""From a user's row in one draw of a planted corpus to the same row in the next: another user."""


def draw_of(outcomes: Outcomes) -> int:
    """Whose outcomes they are; of datasets that are no planted corpus 0."""
    return int(outcomes.rows[0]) // DRAW


def in_draw(outcomes: Outcomes, draw: int) -> Outcomes:
    """The outcomes of a draw's users, apart from those of all other draws."""
    return dataclasses.replace(outcomes, rows=outcomes.rows + draw * DRAW)


def measure(outcomes: Outcomes, metric: str) -> float:
    """The metric over all users, by recalign's own definition."""
    if isinstance(outcomes, Scores):
        return auc_roc(outcomes.scores, outcomes.labels)
    return mean(gains(outcomes.ranks, metric))


def metrics_of(kind: str) -> tuple[str, ...]:
    """The metrics of the paper's table of a kind of task, in its order; the main one is named by
    `main_metric`.
    """
    ranked = ("ndcg@5", "ndcg@10", "hr@5", "hr@10")
    return {
        "retrieval": ranked,
        "ranking": ("ndcg@5", "ndcg@10", "hr@1", "hr@5", "hr@10"),
        "rating": ("auc_roc",),
    }[kind]


def metrics_in(kind: str, measured: Iterable[str], decoding: str) -> tuple[str, ...]:
    """The metrics of a way of decoding among names of results.json, the paper's first, the user's
    own after them; without the way's ending.

    >>> metrics_in("ranking", ["mrr", "hr@1", "hr@1_candidates", "num_examples"], "")
    ('hr@1', 'mrr')
    """
    endings = [f"_{way}" for way in DECODINGS if way]
    names = []
    for name in measured:
        ending = next((it for it in endings if name.endswith(it)), "")
        if ending.removeprefix("_") == decoding and not name.startswith(_OTHERS):
            names.append(name.removesuffix(ending))
    known = [name for name in metrics_of(kind) if name in names]
    return (*known, *(name for name in names if name not in known))


def main_metric(kind: str) -> str:
    return {"retrieval": "hr@10", "ranking": "hr@1", "rating": "auc_roc"}[kind]
