"""Systems without training, measured on the same examples: what a result stands beside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import seqio

from recalign.baselines import optimum, popularity
from recalign.baselines.drivers.exchange import target_ranks
from recalign.baselines.outcomes import Example, Outcome, outcome_of
from recalign.data.law import Law
from recalign.data.prepared import PreparedDataset
from recalign.data.synthetic import read_law

Scorer = Callable[[Example], Any]


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
    systems = scorers_of(dataset, split)
    results: dict[str, dict[str, dict[str, float]]] = {name: {} for name in systems}
    for task in tasks:
        kind = getattr(task, "evaluated_as", "")
        if not kind or split not in task.splits:
            continue
        examples = examples_of(task, split, max_examples)
        for name, scorers in systems.items():
            results[name][task.name] = scored(kind, examples, scorers[kind]).metrics()
    return results


def examples_of(task: seqio.Task, split: str, max_examples: int | None = None) -> list[Example]:
    """The examples of a held-out split, in the order of its rows."""
    stream = task.get_dataset(None, split, shuffle=False, num_epochs=1)
    if max_examples is not None:
        stream = stream.take(max_examples)
    return list(stream.as_numpy_iterator())


def scorers_of(
    dataset: PreparedDataset, split: str, leave_out_seen: bool = False
) -> dict[str, dict[str, Scorer]]:
    """Popularity and, on a synthetic corpus, the optimum: of each a scorer a kind of task.

    Args:
      dataset: the prepared dataset.
      split: "validation" or "test".
      leave_out_seen: whether popularity takes a user's earlier items out of a retrieval; the
        optimum knows that they do not come again.
    """
    systems = {"popularity": _popularity_of(dataset, split, leave_out_seen)}
    law = read_law(dataset)
    if law is not None:
        systems["optimum"] = _optimum_of(dataset, law, split)
    return systems


def scored(kind: str, examples: Sequence[Example], score: Scorer) -> Outcome:
    """What a scorer makes of every example."""
    return outcome_of(kind, examples, np.array([score(example) for example in examples]))


def _popularity_of(dataset: PreparedDataset, split: str, leave_out_seen: bool) -> dict[str, Scorer]:
    counts = dataset.catalogue.train_counts
    rank_of_item = popularity.retrieval_ranks(counts, np.arange(len(counts)))
    sequences = dataset.sequences(split)
    position_of_row = {int(row): position for position, row in enumerate(sequences.rows)}

    def retrieval(example: Example) -> int:
        rank = rank_of_item[example["target"]]
        if leave_out_seen:
            start, end = sequences.row_splits[position_of_row[int(example["row"])] :][:2]
            rank = rank - (rank_of_item[np.unique(sequences.items[start : end - 1])] < rank).sum()
        return int(rank)

    return {
        "retrieval": retrieval,
        "ranking": lambda example: popularity.scores(counts, example["candidates"]),
        "rating": lambda example: popularity.scores(counts, example["target"]),
    }


def _optimum_of(dataset: PreparedDataset, law: Law, split: str) -> dict[str, Scorer]:
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
        return int(target_ranks(scores[np.newaxis], np.array([example["target"]]), None)[0])

    def ranking(example: Example) -> np.ndarray:
        return optimum.ranking_scores(law, history(example), example["candidates"], counts)

    def rating(example: Example) -> float:
        assert sequences.ratings is not None  # a rating task has them
        likes = (sequences.ratings[span(example)] > 3).tolist()
        return optimum.rating_score(law, history(example), likes, int(example["target"]))

    return {"retrieval": retrieval, "ranking": ranking, "rating": rating}
