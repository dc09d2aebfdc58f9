"""A model's probabilities joined with a prior's: P(item) = (1 - w) P_model(item) + w P_prior(item).

The prior's probability is its score to the power of 1 / temperature, normalised over the catalogue:
the softmax of log-scores. Weight and temperature are those with the best NDCG@10 of the validation
users, on a grid that holds weight 0, the model alone. They stand in MODEL_DIR/fusion.json, and
`recommend` uses them.

Joined are the model's beams and the prior's best items, whose probabilities the model gives exactly
(`model/score.py`). An item that is in neither list is at most as likely as the last of both.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import seqio
from etils import epath
from jaxtyping import Bool, Float, Int

from recalign import metrics
from recalign.baselines.priors import check_settings, prior_of
from recalign.baselines.references import histories_of
from recalign.data import integrity
from recalign.data.atomic import write_whole
from recalign.data.field_checks import Check, first_fault, map_of, number, text, whole
from recalign.data.prepared import PreparedDataset
from recalign.errors import UserError, shown
from recalign.model.decode import NO_BEAM
from recalign.preprocessors.task import RecommendationTask
from recalign.trainer.experiment import Experiment
from recalign.trainer.prior_rows import Row, best_items, best_of, log_totals, rows_of
from recalign.trainer.writers import say

FILE = "fusion.json"
ENDING = "_fused"
"""Of the names of metrics."""
LISTED = 20
"""Items of a joined list."""

_WEIGHTS = np.array([*np.arange(0.0, 1.0, 0.05).round(2), 0.975, 0.99])
_TEMPERATURES = (1.0, 0.25, 0.5, 0.75, 1.5, 2.0, 3.0, 5.0)
MOST_CANDIDATES = 2**16
_BATCH = 512
"""Users whose scores by the prior are in memory together."""

Example = Mapping[str, np.ndarray]
Record = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Weights:
    """How a model and a prior are joined: what fusion.json has of a task."""

    prior: str  # its name
    settings: Mapping[str, Any]  # with which it was made
    candidates: int  # how many of its best items the model is asked for
    weight: float  # w, from 0 to below 1
    temperature: float  # of the prior
    made_with: Mapping[str, Any]  # which checkpoint and which decoding
    validation: Mapping[str, float]  # NDCG@10 and HR@10, joined and of the model alone


@dataclasses.dataclass(frozen=True)
class Choices:
    """What is known of the items that may answer one request."""

    items: Int[np.ndarray, " n"]  # of the catalogue; those of the model's beams first, best first
    log_probs: Float[np.ndarray, " n"]  # the model's, natural logarithm
    log_scores: Float[np.ndarray, " n"]  # of the prior's scores; -infinity where it has none
    # {temperature: log of the sum over the catalogue of score^(1 / temperature)}
    log_total: Mapping[float, float]

    def joined(self, weights_W: Float[np.ndarray, " W"], temperature: float) -> np.ndarray:
        """log((1 - w) P_model + w P_prior), [W, n]; log P_model where the prior scores no item."""
        total = self.log_total[temperature]
        prior = self.log_scores / temperature - total if np.isfinite(total) else self.log_probs
        with np.errstate(divide="ignore"):
            log_weights = np.log([1.0 - weights_W, weights_W])[..., np.newaxis]
        return np.logaddexp(log_weights[0] + self.log_probs, log_weights[1] + prior)

    def best_first(self, weight: float, temperature: float) -> dict[int, float]:
        """{item: log of its joined probability}, ties in the order of `items`."""
        (log_probs,) = self.joined(np.array([weight]), temperature)
        order = np.argsort(-log_probs, kind="stable")
        return dict(zip(self.items[order].tolist(), log_probs[order].tolist(), strict=True))


def choices_of(
    beams: Mapping[int, float],
    scored: Mapping[int, float],
    prior: Row,
    log_total: Mapping[float, float],
) -> Choices:
    """The choices of one request.

    `beams` are {item: log-probability} of the beams that are items, best first, and `scored` the
    same of the prior's best items; `prior` and `log_total` what it scores (`rows_of`,
    `log_totals`).
    """
    known = {**beams, **scored}
    items = np.array(list(known), np.int64)
    scores_of = np.zeros(len(items))
    at = np.searchsorted(prior[0], items)
    there = at < len(prior[0])
    there[there] = prior[0][at[there]] == items[there]
    scores_of[there] = prior[1][at[there]]
    with np.errstate(divide="ignore"):
        log_scores = np.log(scores_of)
    return Choices(items, np.array(list(known.values()), np.float64), log_scores, log_total)


class Candidates(NamedTuple):
    """The prior's best items for one request: the model is asked for their probabilities."""

    items: Int[np.ndarray, " C"]  # filled up with -1
    # log(w P_prior / (1 - w)), which `model/contest.py` goes by; -1e7 for a filler
    log_prior: Float[np.ndarray, " C"]
    prior: Row  # of all items
    log_total: Mapping[float, float]

    def joined(
        self, beams: Mapping[int, float], scored: Mapping[int, float], weights: Weights
    ) -> dict[int, float]:
        """{item: natural logarithm of its joined probability}, the likeliest first.

        Of `item_search.Found`: the beams, and the candidates that may be among the likeliest.
        """
        choices = choices_of(beams, scored, self.prior, self.log_total)
        return choices.best_first(weights.weight, weights.temperature)


def _best_allowed(
    scores: Row, allowed_N: Bool[np.ndarray, " N"], count: int, weights: Weights
) -> Candidates:
    allowed = allowed_N[scores[0]]
    items, of_items = best_of((scores[0][allowed], scores[1][allowed]), count)
    log_total = log_totals(scores, [weights.temperature])
    odds = math.log(weights.weight / (1 - weights.weight)) - log_total[weights.temperature]
    fillers = (0, count - len(items))
    return Candidates(
        np.pad(items, fillers, constant_values=-1).astype(np.int32),
        np.pad(
            np.log(of_items) / weights.temperature + odds, fillers, constant_values=NO_BEAM
        ).astype(np.float32),
        scores,
        log_total,
    )


class Joining:
    """A retrieval task's model and a prior of its dataset."""

    def __init__(
        self,
        name: str,
        dataset: PreparedDataset,
        candidates: int,
        settings: Mapping[str, Any] | None = None,
    ):
        """Makes the prior; its settings are found on the validation users where none are given."""
        if not whole(1, MOST_CANDIDATES)(candidates):
            raise UserError(f"FUSION_CANDIDATES = {candidates}: 1 to {MOST_CANDIDATES}")
        self._dataset = dataset
        self.candidates = candidates
        self.prior, self.settings = prior_of(name, dataset, settings)
        self.name = name
        self._index_of = {item: index for index, item in enumerate(dataset.catalogue.ids)}

    @property
    def about(self) -> dict[str, Any]:
        """What predictions depend on."""
        return {
            "prior": self.name,
            "prior_settings": dict(self.settings),
            "candidates": self.candidates,
            "dataset_fingerprint": self._dataset.fingerprint,
        }

    def best_of(self, examples: Sequence[Example], split: str) -> Int[np.ndarray, "N C"]:
        """The prior's best items for each example, filled up with -1."""
        best = [best_items(row, self.candidates) for row in self._rows(examples, split)]
        return np.array(best, np.int32).reshape(len(examples), self.candidates)

    def choices(
        self,
        examples: Sequence[Example],
        split: str,
        records: Sequence[Record],
        temperatures: Sequence[float],
    ) -> Iterator[Choices]:
        """Of each example, by its record's beams and exact log-probabilities."""
        for record, row in zip(records, self._rows(examples, split), strict=True):
            beams: dict[int, float] = {}
            for beam, log_prob in zip(record["beams"], record["log_probs"], strict=True):
                if (index := self._index_of.get(beam.strip())) is not None:
                    beams.setdefault(index, log_prob)
            best = best_items(row, self.candidates).tolist()
            exact = zip(best, record["exact_log_probs"], strict=True)
            scored = {item: log_prob for item, log_prob in exact if item >= 0}
            yield choices_of(beams, scored, row, log_totals(row, temperatures))

    def fit(
        self, examples: Sequence[Example], records: Sequence[Record], made_with: Mapping[str, Any]
    ) -> Weights:
        """The weight and the temperature with the best NDCG@10, of equals the least weight.

        `records` are what was predicted of `examples`, the validation users, in their order.
        """
        ranks: dict[float, list[np.ndarray]] = {temperature: [] for temperature in _TEMPERATURES}
        found = self.choices(examples, "validation", records, _TEMPERATURES)
        for example, choices in zip(examples, found, strict=True):
            is_target = choices.items == int(example["target"])
            for temperature, of_weights in ranks.items():
                of_weights.append(ranks_of(choices.joined(_WEIGHTS, temperature), is_target))
        measured = {
            (weight, temperature): metrics.retrieval_results(ranks_N)
            for temperature, of_weights in ranks.items()
            for weight, ranks_N in zip(_WEIGHTS.tolist(), np.array(of_weights).T, strict=True)
        }
        weight, temperature = max(measured, key=lambda at: (measured[at]["ndcg@10"], -at[0]))
        validation = {
            f"{name}{ending}": measured[at][name]
            for ending, at in (("", (weight, temperature)), ("_alone", (0.0, 1.0)))
            for name in ("hr@10", "ndcg@10")
        }
        return Weights(self.name, self.settings, self.candidates, weight, temperature,
                       dict(made_with), validation)  # fmt: skip

    def answers(
        self,
        examples: Sequence[Example],
        split: str,
        records: Sequence[Record],
        weights: Weights,
    ) -> list[list[str]]:
        """The joined list of each example: IDs, best first."""
        ids = self._dataset.catalogue.ids
        return [
            [ids[item] for item in it.best_first(weights.weight, weights.temperature)][:LISTED]
            for it in self.choices(examples, split, records, [weights.temperature])
        ]

    def candidates_of(
        self,
        histories: Sequence[Sequence[int]],
        allowed_BxN: Sequence[Bool[np.ndarray, " N"]],
        count: int,
        weights: Weights,
    ) -> list[Candidates]:
        """For each history the prior's best items among those that are allowed.

        At least `count` of them, and more where the weights were found with more.
        """
        rows = rows_of(self.prior.scores([np.asarray(items, np.int64) for items in histories]))
        count = max(count, self.candidates)
        return [
            _best_allowed(row, allowed_N, count, weights)
            for row, allowed_N in zip(rows, allowed_BxN, strict=True)
        ]

    def _rows(self, examples: Sequence[Example], split: str) -> Iterator[Row]:
        histories = histories_of(self._dataset, split)
        for start in range(0, len(examples), _BATCH):
            yield from rows_of(self.prior.scores(histories(examples[start : start + _BATCH])))


def joining_of(experiment: Experiment, task: seqio.Task) -> Joining | None:
    """What FUSION_PRIOR joins a retrieval task with; None of any other task, and without one."""
    if experiment.fusion_prior is None or not isinstance(task, RecommendationTask):
        return None
    if task.evaluated_as != "retrieval":
        return None
    return Joining(experiment.fusion_prior, task.source.open(), experiment.fusion_candidates)


def measure(records: Sequence[Record]) -> metrics.Results:
    """HR and NDCG of the joined lists."""
    ranks = np.array([metrics.rank_in(it["target"], it["fused_beams"]) for it in records])
    found = metrics.retrieval_results(ranks)
    return {f"{name}{ENDING}": value for name, value in found.items() if "@" in name}


def ranks_of(
    scores_WxN: Float[np.ndarray, "W N"], is_target_N: Bool[np.ndarray, " N"]
) -> Float[np.ndarray, " W"]:
    """The target's rank from 0, ties by place; infinity where it is not there."""
    if not is_target_N.any():
        return np.full(len(scores_WxN), np.inf)
    place = int(np.flatnonzero(is_target_N)[0])
    of_target = scores_WxN[:, place, np.newaxis]
    ahead = (scores_WxN > of_target).sum(axis=1)
    return ahead + (scores_WxN[:, :place] == of_target).sum(axis=1).astype(float)


# fusion.json --------------------------------------------------------------------------------------


def read(directory: epath.Path) -> dict[str, Weights]:
    """The weights of a run's tasks, checked; none where it was not evaluated with a prior."""
    path = directory / FILE
    if not path.exists():
        return {}
    try:
        tasks = integrity.read_sealed(path).get("tasks")
        if not isinstance(tasks, dict):
            raise UserError(f"tasks is {shown(tasks)}")
        return {task: _weights_of(task, of_task) for task, of_task in tasks.items()}
    except UserError as error:
        raise UserError(f"{path} cannot be used ({error}): remove it and evaluate again") from error


_FIELDS: Mapping[str, Check] = {
    "prior": text,
    "settings": map_of(lambda value: True),
    "candidates": whole(1, MOST_CANDIDATES),
    "weight": lambda value: number(0, 1)(value) and value < 1,
    "temperature": number(0.01, 100),
    "made_with": map_of(lambda value: True),
    "validation": map_of(number(0, 1)),
}


def _weights_of(task: str, found: Any) -> Weights:
    """What the file says of a task, checked field by field."""
    if not isinstance(found, dict) or found.keys() != _FIELDS.keys():
        raise UserError(f"{shown(task)} is {shown(found)}, not {', '.join(_FIELDS)}")
    if (name := first_fault(found, _FIELDS)) is not None:
        raise UserError(f"{shown(task)}: {name} is {shown(found[name])}")
    check_settings(found["prior"], found["settings"])
    return Weights(**found)


def weights_at(directory: epath.Path, task: str, step: int) -> Weights | None:
    """How a prior joins the checkpoint of a step; None where none does."""
    weights = read(directory).get(task)
    if weights is None or weights.weight == 0:
        return None
    measured_at = weights.made_with.get("checkpoint_step")
    if measured_at != step:
        say(
            f"{directory / FILE} is of step {measured_at}, this is step {step}: the model answers"
            " alone; evaluate again to join it with a prior"
        )
        return None
    return weights


def write(directory: epath.Path, weights: Mapping[str, Weights]) -> None:
    """Writes the weights of some tasks beside those of others."""
    if jax.process_index() == 0:
        found = {**read(directory), **weights}
        tasks = {task: dataclasses.asdict(of_task) for task, of_task in found.items()}
        write_whole(directory / FILE, integrity.sealed_json({"tasks": tasks}))
