"""Systems without training, measured on the same examples: what a result stands beside."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import seqio
from jaxtyping import Float, Int

from recalign.baselines import priors
from recalign.baselines.drivers.exchange import target_ranks
from recalign.baselines.item_to_item import ItemToItem
from recalign.baselines.outcomes import Example, Outcome, column, outcome_of
from recalign.data.law import Law
from recalign.data.prepared import PreparedDataset, UserSequences
from recalign.data.synthetic import read_law
from recalign.preprocessors.settings import TaskSettings

Scorer = Callable[[Sequence[Example]], np.ndarray]
"""What a system says of n examples of a kind: `outcome_of`'s values."""

# Gauss-Laguerre quadrature: the integral over t >= 0 of exp(-t) times a smooth function.
_NODES, _NODE_WEIGHTS = np.polynomial.laguerre.laggauss(64)


def references(
    dataset: PreparedDataset, examples: Mapping[str, tuple[str, Sequence[Example]]], split: str
) -> dict[str, dict[str, dict[str, float]]]:
    """Measures popularity, the transition graph where something is retrieved, and the optimum of a
    synthetic corpus: {system: {task name: {metric: value}}}, as results.json's `references`.

    `examples`: task name -> (what it is evaluated as, its examples, which need no prompts); `split`
    is "validation" or "test".
    """
    systems = scorers_of(dataset, split)
    if any(kind == "retrieval" for kind, _ in examples.values()):
        systems["graph"] = _graph_of(dataset, split)
    results: dict[str, dict[str, dict[str, float]]] = {name: {} for name in systems}
    for task, (kind, its_examples) in examples.items():
        for name, scorers in systems.items():
            if kind in scorers:
                results[name][task] = scored(kind, its_examples, scorers[kind]).metrics()
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

    `leave_out_seen`: whether popularity takes a user's earlier items out of a retrieval; the
    optimum knows that they do not come again.
    """
    systems = {"popularity": _popularity_of(dataset, split, leave_out_seen)}
    if (law := read_law(dataset)) is not None:
        systems["optimum"] = _optimum_of(dataset, law, split)
    return systems


def scored(kind: str, examples: Sequence[Example], score: Scorer) -> Outcome:
    """What a scorer makes of every example."""
    return outcome_of(kind, examples, score(examples))


def _one_by_one(score: Callable[[Example], Any]) -> Scorer:
    return lambda examples: np.array([score(example) for example in examples])


def popularity_ranks(train_counts: Int[np.ndarray, "N"]) -> Int[np.ndarray, "N"]:
    """0-based rank of each item by how often the training parts have it; ties: the lower index."""
    return np.argsort(np.argsort(-train_counts, kind="stable"))


def _popularity_of(dataset: PreparedDataset, split: str, leave_out_seen: bool) -> dict[str, Scorer]:
    """A user's earlier items stay in the list by default: the paper ranks the entire dataset."""
    counts = dataset.catalogue.train_counts
    rank_of_item = popularity_ranks(counts)
    sequences, span = _histories(dataset, split)

    def retrieval(example: Example) -> int:
        rank = rank_of_item[example["target"]]
        if leave_out_seen:
            rank = rank - (rank_of_item[np.unique(sequences.items[span(example)])] < rank).sum()
        return int(rank)

    return {
        "retrieval": _one_by_one(retrieval),
        "ranking": _one_by_one(lambda it: counts[it["candidates"]].astype(np.float64)),
        "rating": _one_by_one(lambda it: float(counts[it["target"]])),
    }


def _graph_of(dataset: PreparedDataset, split: str) -> dict[str, Scorer]:
    """The transition graph, tuned on the validation users; items seen before stay in the list."""
    model, _ = priors.prior_of("graph", dataset)
    assert isinstance(model, ItemToItem)
    histories = histories_of(dataset, split)
    return {
        "retrieval": lambda them: model.ranks(histories(them), column(them, "target"), False),
        "ranking": lambda them: model.pool_scores(
            histories(them), np.stack([example["candidates"] for example in them])
        ),
    }


def histories_of(
    dataset: PreparedDataset, split: str
) -> Callable[[Sequence[Example]], list[np.ndarray]]:
    """Gives the whole history of each example of a held-out split: all before the target."""
    sequences, span = _histories(dataset, split)
    return lambda examples: [sequences.items[span(example)] for example in examples]


def _histories(
    dataset: PreparedDataset, split: str
) -> tuple[UserSequences, Callable[[Example], slice]]:
    """A held-out split's sequences, and where in them the history of an example is."""
    sequences = dataset.sequences(split)
    position_of_row = {int(row): position for position, row in enumerate(sequences.rows)}

    def span(example: Example) -> slice:
        position = position_of_row[int(example["row"])]
        return slice(sequences.row_splits[position], sequences.row_splits[position + 1] - 1)

    return sequences, span


def _optimum_of(dataset: PreparedDataset, law: Law, split: str) -> dict[str, Scorer]:
    """Bayes' rule of the law that generated a synthetic corpus.

    Retrieval and ranking see the user's whole history in order, which is what a prompt shows when
    its window holds the longest history. Rating sees, in addition, the order in which liked and
    disliked items alternate, which a prompt does not show: there the optimum is an upper bound.
    """
    sequences, span = _histories(dataset, split)
    counts = dataset.catalogue.train_counts
    threshold = TaskSettings().threshold(dataset)

    def history(example: Example) -> list[int]:
        return sequences.items[span(example)].tolist()

    def retrieval(example: Example) -> int:
        scores = law.next_item(history(example))
        return int(target_ranks(scores[np.newaxis], np.array([example["target"]]), None)[0])

    def ranking(example: Example) -> np.ndarray:
        return optimal_scores(law, history(example), example["candidates"], counts)

    def rating(example: Example) -> float:
        assert sequences.ratings is not None  # a rating task has them
        likes = (sequences.ratings[span(example)] > threshold).tolist()
        item = int(example["target"])
        return law.like_given_history(history(example), likes, item, threshold)

    scorers = {"retrieval": retrieval, "ranking": ranking, "rating": rating}
    return {kind: _one_by_one(score) for kind, score in scorers.items()}


def optimal_scores(
    law: Law,
    history: Sequence[int],
    candidates: Int[np.ndarray, "C"],
    train_counts: Int[np.ndarray, "N"],
) -> Float[np.ndarray, "C"]:
    """P(candidate is the positive | history, the pool), up to a factor common to the pool.

    A pool tells more than the history: its other members were drawn by train popularity without
    replacement from what the user never had, so a popular candidate is likelier a negative. With
    w the train counts and R the items neither in the history nor in the pool,

        P(S is the drawn set) = integral over t >= 0 of exp(-t) *
                                prod over j in S of (1 - exp(-t * w_j / sum of w over R))

    (exponential clocks: all of S ring before the first of R, at time t).
    """
    rest = np.ones(len(train_counts), bool)
    rest[list(history)] = False
    rest[candidates] = False
    weights = np.maximum(train_counts[candidates], 1e-9) / max(train_counts[rest].sum(), 1e-9)
    log_rings_CxQ = np.log(-np.expm1(-_NODES[None, :] * weights[:, None]))
    log_others_CxQ = log_rings_CxQ.sum(axis=0) - log_rings_CxQ
    log_scale = log_others_CxQ.max()
    drawn = (np.exp(log_others_CxQ - log_scale) * _NODE_WEIGHTS).sum(axis=1)
    return law.next_item(history)[candidates] * drawn
