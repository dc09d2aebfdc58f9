"""results.json: what a run scored, beside the references on the same examples."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import seqio

from recalign.baselines.references import references
from recalign.data import integrity
from recalign.data.atomic import write_whole
from recalign.preprocessors.task import RecommendationTask
from recalign.trainer import provenance
from recalign.trainer.experiment import Experiment

FILE = "results.json"
ENGINE = "recalign"


def write(
    experiment: Experiment,
    tasks: Sequence[seqio.Task],
    split: str,
    step: int,
    measured: Mapping[str, Mapping[str, float]],
    max_examples: int | None,
    made_from: Mapping[str, Any],
) -> dict[str, Any]:
    """Measures the references, writes MODEL_DIR/results.json whole, and returns what it holds."""
    by_dataset: dict[str, list[RecommendationTask]] = {}
    for task in tasks:
        if isinstance(task, RecommendationTask):
            by_dataset.setdefault(task.dataset_name, []).append(task)
    systems: dict[str, dict[str, Any]] = {}
    for of_dataset in by_dataset.values():
        dataset = of_dataset[0].source.open()
        for system, found in references(dataset, of_dataset, split, max_examples).items():
            systems.setdefault(system, {}).update(found)
    results = {
        "dataset": ",".join(by_dataset),
        "mixture": experiment.mixture_or_task_name,
        "checkpoint_step": step,
        "split": split,
        "engine": ENGINE,
        "tasks": {name: dict(found) for name, found in measured.items()},
        "references": systems,
        "versions": provenance.versions(),
        "made_from": made_from,
        "device": {"kind": jax.devices()[0].device_kind, "count": jax.device_count()},
    }
    results = integrity.sealed(_without_nan(results))
    if jax.process_index() == 0:
        write_whole(experiment.directory / FILE, integrity.sealed_json(results))
    return results


def _without_nan(value: Any) -> Any:
    """JSON has no NaN; a metric that could not be computed is null."""
    if isinstance(value, Mapping):
        return {name: _without_nan(inner) for name, inner in value.items()}
    if isinstance(value, float) and math.isnan(value):
        return None
    return value
