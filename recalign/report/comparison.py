"""A run's results beside the references as plain text, a table a task, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from textwrap import indent
from typing import Any

from etils import epath

from recalign.report.baselines import is_baselines, read_baselines
from recalign.report.outcomes import KINDS
from recalign.report.run import Metrics, Results, metrics_of_systems, parse_results, read_run
from recalign.report.systems import OPTIMUM
from recalign.report.tables import MISSING, aligned, figure, percent

# Shown first, in this order; what else a run has been compared with follows by name.
_KNOWN_SYSTEMS = ("popularity", "graph", OPTIMUM)
# The figure that speaks for a task, the first that the task has.
HEADLINES = ("hr@1_candidates", "hr@10", "auc_roc")
_SHARED_SCALE = ("hr@", "ndcg@", "auc_roc")


def format_results(results: Mapping[str, Any]) -> str:
    """A results.json (parsed) as plain tables for a terminal, a table a task."""
    return _as_text(parse_results(results))


def format_baselines(results: Mapping[str, Any]) -> str:
    """What `recalign baselines` measured (its results file, parsed) as plain tables."""
    metrics = metrics_of_systems(results["references"], "results")
    return _baselines_as_text(results["dataset"], results["split"], metrics, results["systems"])


def format_runs(run_dirs: Sequence[epath.PathLike]) -> str:
    """The results of runs as plain tables, one run after the other; gaps are named."""
    blocks = []
    for directory in run_dirs:
        name = [f"== {epath.Path(directory).name}"] if len(run_dirs) > 1 else []
        if is_baselines(directory):
            folder = read_baselines(directory)
            measured = folder.dataset, folder.split, folder.metrics, folder.systems
            gaps, text = folder.gaps, _baselines_as_text(*measured)
        else:
            run = read_run(directory)
            gaps, text = run.gaps, _as_text(run.results) if run.results else ""
        blocks.append("\n".join([*name, *gaps, *filter(None, [text])]))
    return "\n\n".join(blocks)


def share_of_optimum(metric: str, ours: float, optimum: float | None) -> float | None:
    """How much of what can be reached was reached; an AUC counts from 0.5, which guessing gives."""
    if optimum is None or not metric.startswith(_SHARED_SCALE) or math.isnan(ours + optimum):
        return None
    floor = 0.5 if metric.startswith("auc_roc") else 0.0
    return None if optimum <= floor else (ours - floor) / (optimum - floor)


def place_of_task(task: str) -> tuple[int, str]:
    """Sorts tasks as the paper does; what else there is follows by name."""
    kind = task.split("_", 1)[0]
    return (KINDS.index(kind) if kind in KINDS else len(KINDS), task)


def _as_text(results: Results) -> str:
    systems = [name for name in _KNOWN_SYSTEMS if name in results.references]
    systems += sorted(set(results.references) - set(_KNOWN_SYSTEMS))
    step = "" if results.checkpoint_step is None else f", step {results.checkpoint_step:,}"
    blocks = [f"{results.mixture} on {results.dataset}, {results.split} split{step}"]
    for task in sorted(results.tasks, key=place_of_task):
        metrics = results.tasks[task]
        count = metrics.get("num_examples")
        examples = "" if count is None else f" ({int(count):,} examples)"
        table = [["metric", "this run", *systems, *(["share of optimum"] * (OPTIMUM in systems))]]
        table += [
            _line(metric, value, [results.references[s].get(task, {}) for s in systems], systems)
            # A pool's own figures first: they say how well it is ranked, the plain ones also how
            # often the model answers with what is not in it.
            for metric, value in sorted(metrics.items(), key=lambda m: "_candidates" not in m[0])
            if metric != "num_examples"
        ]
        blocks.append(f"{task}{examples}\n{indent(aligned(table), '  ')}")
    return "\n\n".join(blocks)


def _baselines_as_text(
    dataset: str,
    split: str,
    metrics: Mapping[str, Mapping[str, Metrics]],
    systems: Mapping[str, Mapping[str, Any]],
) -> str:
    """A table a task, a line a system, and by which convention they were measured."""
    blocks = [f"baselines on {dataset}, {split} split"]
    tasks = {task for of_tasks in metrics.values() for task in of_tasks}
    for task in sorted(tasks, key=place_of_task):
        found = {name: of_tasks[task] for name, of_tasks in metrics.items() if task in of_tasks}
        names = [
            name
            for name in dict.fromkeys(name for of_system in found.values() for name in of_system)
            # A baseline can name nothing but candidates: its figures within the pool are the same.
            if name != "num_examples" and not name.endswith("_candidates")
        ]
        table = [["system", *names, "seconds"]]
        for name, of_system in found.items():
            seconds = systems.get(name, {}).get("seconds")
            took = MISSING if seconds is None else f"{seconds:.0f}"
            table.append([name, *(figure(of_system.get(metric)) for metric in names), took])
        blocks.append(f"{task}\n{indent(aligned(table), '  ')}")
    seen = (about.get("settings", {}).get("seen_items") for about in systems.values())
    if conventions := ", ".join(filter(None, dict.fromkeys(seen))):
        blocks.append(f"Items that a user had before: {conventions} (retrieval).")
    return "\n\n".join(blocks)


def _line(
    metric: str, value: float, beside: Sequence[Mapping[str, float]], systems: Sequence[str]
) -> list[str]:
    # What a prior joins stands beside what others do without one.
    others = [found.get(metric, found.get(metric.removesuffix("_fused"))) for found in beside]
    line = [metric, figure(value), *map(figure, others)]
    if OPTIMUM in systems:
        optimum = others[systems.index(OPTIMUM)]
        line.append(percent(share_of_optimum(metric, value, optimum)))
    return line
