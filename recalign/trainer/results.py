"""results.json: what a run scored, beside the references on the same examples."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import seqio
from jaxtyping import Float

from recalign import metrics
from recalign.baselines.outcomes import Example, column, pool_ranks
from recalign.baselines.references import references
from recalign.data import integrity
from recalign.data.atomic import write_whole
from recalign.preprocessors.task import RecommendationTask
from recalign.trainer import provenance
from recalign.trainer.experiment import Experiment
from recalign.trainer.fusion import Weights

FILE = "results.json"
ENGINE = "recalign"


def write(
    experiment: Experiment,
    tasks: Sequence[seqio.Task],
    split: str,
    step: int,
    parameters: int,
    measured: Mapping[str, Mapping[str, float]],
    examples: Mapping[str, Sequence[Example]],
    made_from: Mapping[str, Any],
    fusion: Mapping[str, Weights],
) -> dict[str, Any]:
    """Measures the references, writes MODEL_DIR/results.json whole, and returns what it holds.

    By task: its metrics (`measured`), its `examples` with their fields that need no prompt, and how
    a prior was joined (`fusion`). `step` is the checkpoint's, `parameters` how many numbers the
    model has; `made_from`: see `provenance`.
    """
    by_dataset: dict[str, list[RecommendationTask]] = {}
    for task in tasks:
        if isinstance(task, RecommendationTask):
            by_dataset.setdefault(task.dataset_name, []).append(task)
    systems: dict[str, dict[str, Any]] = {}
    for its_tasks in by_dataset.values():
        asked = {t.name: (t.evaluated_as, examples[t.name]) for t in its_tasks if t.evaluated_as}
        for system, found in references(its_tasks[0].source.open(), asked, split).items():
            systems.setdefault(system, {}).update(found)
    results = {
        "dataset": ",".join(by_dataset),
        "mixture": experiment.mixture_or_task_name,
        "checkpoint_step": step,
        "split": split,
        "engine": ENGINE,
        "model": {
            "size": experiment.model.size_name,
            "parameters": parameters,
            "pretrained": bool(experiment.initial_checkpoint_path),
        },
        "evaluated": {task.name: _facts(task, measured[task.name]) for task in tasks},
        "tasks": {name: dict(found) for name, found in measured.items()},
        "references": systems,
        "fusion": {
            task: {"prior": it.prior, "weight": it.weight, "temperature": it.temperature}
            for task, it in fusion.items()
        },
        "versions": provenance.versions(),
        "made_from": made_from,
        "device": {"kind": jax.devices()[0].device_kind, "count": jax.device_count()},
    }
    results = integrity.sealed(integrity.without_nan(results))
    if jax.process_index() == 0:
        write_whole(experiment.directory / FILE, integrity.sealed_json(results))
    return results


def _facts(task: seqio.Task, measured: Mapping[str, float]) -> dict[str, Any]:
    """What a reader of a task's figures and predictions has to know of it.

    `answers` are the two words of a rating, the negative one first; "catalogue" for its IDs.
    """
    evaluated_as = getattr(task, "evaluated_as", "")
    answers: Any = None
    if evaluated_as:
        answers = list(task.answers) if evaluated_as == "rating" else "catalogue"
    return {
        "kind": getattr(task, "kind", ""),
        "evaluated_as": evaluated_as,
        "metrics": list(measured),
        "answers": answers,
    }


def exact_metrics(
    examples: Sequence[Mapping[str, Any]], log_probs_NxC: Float[np.ndarray, "N C"]
) -> metrics.Results:
    """Of a rating or a ranking by exact log-probability: of no and yes, or of the candidates."""
    if "label" in examples[0]:
        scores_N = log_probs_NxC[:, 1] - log_probs_NxC[:, 0]
        return metrics.rating_results(scores_N, column(examples, "label"))
    return metrics.ranking_results(pool_ranks(log_probs_NxC, examples))
