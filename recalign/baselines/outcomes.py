"""What a system made of each user of a task, and the figures and the file that come of it."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from recalign import metrics

Example = Mapping[str, np.ndarray]
"""What a task yields for a user."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A system's answers to a task."""

    kind: str  # "retrieval", "ranking" or "rating"
    rows: np.ndarray  # int64 [n], the users' rows
    # [n]; the target's 0-based rank or, of a rating, a score: the higher, the likelier.
    values: np.ndarray
    labels: np.ndarray  # int8 [n] of a rating, 1 for a like; empty otherwise

    def metrics(self) -> metrics.Results:
        """Of results.json."""
        if self.kind == "rating":
            return metrics.rating_results(self.values, self.labels)
        if self.kind == "retrieval":
            return metrics.retrieval_results(self.values)
        results = metrics.ranking_results(self.values)
        # A system that scores the pool can name nothing else.
        return results | {f"{k}_candidates": v for k, v in results.items() if "@" in k}

    def table(self) -> pa.Table:
        """`row` with `rank` (retrieval, ranking) or with `score` and `label` (rating)."""
        row = pa.array(self.rows, pa.int64())
        if self.kind == "rating":
            score, label = pa.array(self.values, pa.float64()), pa.array(self.labels, pa.int8())
            return pa.table({"row": row, "score": score, "label": label})
        return pa.table({"row": row, "rank": pa.array(self.values.astype(np.int32), pa.int32())})


def outcome_of(kind: str, examples: Sequence[Example], values: np.ndarray) -> Outcome:
    """What a system says of n examples of a kind of task.

    `values`: of a retrieval the target's 0-based rank [n], of a ranking the scores of the
    candidates in prompt order [n, C], of a rating a score [n].
    """
    labels = np.zeros(0, np.int8)
    if kind == "rating":
        labels = column(examples, "label").astype(np.int8)
    elif kind == "ranking":
        values = pool_ranks(values, examples)
    return Outcome(kind, column(examples, "row"), values, labels)


def column(examples: Sequence[Example], name: str) -> np.ndarray:
    """A number of every example: int64 [n]."""
    return np.array([int(example[name]) for example in examples], np.int64)


def pool_ranks(scores: np.ndarray, examples: Sequence[Example]) -> np.ndarray:
    """The target's 0-based rank in each of P pools, int64 [P]; ties: the earlier in the prompt,
    whose order is random. `scores`: float [P, C], of the candidates in prompt order."""
    ranks = [
        metrics.rank_among(of_pool, example["candidates"], int(example["target"]))
        for of_pool, example in zip(scores, examples, strict=True)
    ]
    return np.array(ranks, np.int64)
