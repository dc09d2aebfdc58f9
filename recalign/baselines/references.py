"""Systems without training, measured on the same examples: what a result stands beside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import seqio

from recalign import metrics
from recalign.baselines import optimum, popularity
from recalign.data.law import Law
from recalign.data.prepared import PreparedDataset
from recalign.data.synthetic import read_law

Example = dict[str, np.ndarray]


def references(
    dataset: PreparedDataset,
    tasks: Sequence[seqio.Task],
    split: str,
    max_examples: int | None = None,
) -> dict[str, dict[str, dict[str, float]]]:
    """Measures popularity and, on a synthetic corpus, the optimum.

    Args:
      dataset: the prepared dataset of the tasks.
      tasks: retrieval, ranking and rating tasks of that dataset; others are passed over.
      split: "validation" or "test".
      max_examples: only the first examples of each task, as an evaluation cut short does.

    Returns:
      {system: {task name: {metric: value}}}, in the shape of results.json's `references`.
    """
    systems = {"popularity": _popularity_of(dataset)}
    law = read_law(dataset)
    if law is not None:
        systems["optimum"] = _optimum_of(dataset, law, split)
    results: dict[str, dict[str, dict[str, float]]] = {name: {} for name in systems}
    for task in tasks:
        kind = getattr(task, "evaluated_as", "")
        if not kind or split not in task.splits:
            continue
        examples = _examples(task, split, max_examples)
        for name, system in systems.items():
            results[name][task.name] = _measure(kind, examples, system[kind])
    return results


def _examples(task: seqio.Task, split: str, max_examples: int | None) -> list[Example]:
    stream = task.get_dataset(None, split, shuffle=False, num_epochs=1)
    if max_examples is not None:
        stream = stream.take(max_examples)
    return list(stream.as_numpy_iterator())


def _measure(
    kind: str, examples: Iterable[Example], score: Callable[[Example], Any]
) -> dict[str, float]:
    """Retrieval: `score` gives the target's rank; ranking: a score a candidate; rating: a score."""
    examples = list(examples)
    if kind == "rating":
        labels = np.array([int(example["label"]) for example in examples])
        return metrics.rating_results(np.array([score(example) for example in examples]), labels)
    if kind == "retrieval":
        return metrics.retrieval_results(np.array([score(example) for example in examples]))
    ranks = [_candidate_rank(score(example), example) for example in examples]
    results = metrics.ranking_results(np.array(ranks))
    # A system that scores the pool can name nothing else.
    return results | {f"{k}_candidates": v for k, v in results.items() if "@" in k}


def _candidate_rank(scores: np.ndarray, example: Example) -> int:
    """Rank of the target in its pool; ties go by the position in the prompt, which is random."""
    order = np.argsort(-scores, kind="stable")
    return int(np.flatnonzero(example["candidates"][order] == example["target"])[0])


def _popularity_of(dataset: PreparedDataset) -> dict[str, Callable[[Example], Any]]:
    counts = dataset.catalogue.train_counts
    rank_of_item = popularity.retrieval_ranks(counts, np.arange(len(counts)))
    return {
        "retrieval": lambda example: rank_of_item[example["target"]],
        "ranking": lambda example: popularity.scores(counts, example["candidates"]),
        "rating": lambda example: popularity.scores(counts, example["target"]),
    }


def _optimum_of(
    dataset: PreparedDataset, law: Law, split: str
) -> dict[str, Callable[[Example], Any]]:
    sequences = dataset.sequences(split)
    counts = dataset.catalogue.train_counts
    position_of_row = {int(row): position for position, row in enumerate(sequences.rows)}

    def span(example: Example) -> slice:
        position = position_of_row[int(example["row"])]
        return slice(sequences.row_splits[position], sequences.row_splits[position + 1] - 1)

    def history(example: Example) -> list[int]:
        return sequences.items[span(example)].tolist()

    def retrieval(example: Example) -> int:
        scores = optimum.retrieval_scores(law, history(example))
        return int((scores > scores[example["target"]]).sum())

    def ranking(example: Example) -> np.ndarray:
        return optimum.ranking_scores(law, history(example), example["candidates"], counts)

    def rating(example: Example) -> float:
        assert sequences.ratings is not None  # a rating task has them
        likes = (sequences.ratings[span(example)] > 3).tolist()
        return optimum.rating_score(law, history(example), likes, int(example["target"]))

    return {"retrieval": retrieval, "ranking": ranking, "rating": rating}
