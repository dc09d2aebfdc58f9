"""A run's results beside the references: which figures stand in a row, and how they are written."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from recalign.report.run import Results, parse_results, read_run

MISSING = "—"
OPTIMUM = "optimum"
# Shown first, in this order; what else a run has been compared with follows by name.
_KNOWN_SYSTEMS = ("popularity", OPTIMUM)
# The paper's order; what else there is follows by name.
_KINDS = ("retrieval", "ranking", "rating")
# The figure that speaks for a task, the first that the task has.
HEADLINES = ("hr@1_candidates", "hr@10", "auc_roc")
_SHARED_SCALE = ("hr@", "ndcg@", "auc_roc")


@dataclasses.dataclass(frozen=True)
class Row:
    """One metric of one task. `others` follows the comparison's `systems`; None: not measured."""

    metric: str
    ours: float
    others: tuple[float | None, ...]
    share_of_optimum: float | None


@dataclasses.dataclass(frozen=True)
class TaskComparison:
    """One task of a run beside every reference."""

    task: str
    num_examples: int | None
    rows: tuple[Row, ...]

    def headline(self) -> Row | None:
        """The row that speaks for the task."""
        by_metric = {row.metric: row for row in self.rows}
        return next((by_metric[name] for name in HEADLINES if name in by_metric), None)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Every task of a run beside the reference systems, which are named in `systems`."""

    systems: tuple[str, ...]
    tasks: tuple[TaskComparison, ...]

    @property
    def has_optimum(self) -> bool:
        return OPTIMUM in self.systems


def compare(results: Results) -> Comparison:
    """Sets a run's metrics beside the references' on the same split."""
    systems = tuple(
        [name for name in _KNOWN_SYSTEMS if name in results.references]
        + sorted(set(results.references) - set(_KNOWN_SYSTEMS))
    )
    tasks = []
    for task in sorted(results.tasks, key=place_of_task):
        metrics = results.tasks[task]
        num_examples = metrics.get("num_examples")
        tasks.append(
            TaskComparison(
                task=task,
                num_examples=None if num_examples is None else int(num_examples),
                rows=tuple(
                    _row(name, value, results, task, systems)
                    for name, value in metrics.items()
                    if name != "num_examples"
                ),
            )
        )
    return Comparison(systems, tuple(tasks))


def place_of_task(task: str) -> tuple[int, str]:
    """Sorts tasks, and what is named after them, as the paper does."""
    kind = task.split("_", 1)[0]
    return (_KINDS.index(kind) if kind in _KINDS else len(_KINDS), task)


def _row(metric: str, ours: float, results: Results, task: str, systems: tuple[str, ...]) -> Row:
    others = tuple(results.references[system].get(task, {}).get(metric) for system in systems)
    optimum = dict(zip(systems, others, strict=True)).get(OPTIMUM)
    return Row(metric, ours, others, share_of_optimum(metric, ours, optimum))


def share_of_optimum(metric: str, ours: float, optimum: float | None) -> float | None:
    """How much of what can be reached was reached; an AUC counts from 0.5, which guessing gives."""
    if optimum is None or not metric.startswith(_SHARED_SCALE) or math.isnan(ours + optimum):
        return None
    floor = 0.5 if metric.startswith("auc_roc") else 0.0
    return None if optimum <= floor else (ours - floor) / (optimum - floor)


def figure(value: float | None) -> str:
    """A metric as tables show it: four digits, or a dash where it was not measured."""
    return MISSING if value is None or math.isnan(value) else f"{value:.4f}"


def percent(share: float | None) -> str:
    """A share of the optimum as tables show it."""
    return MISSING if share is None else f"{100 * share:.0f} %".replace("-", "−")


def format_results(results: Mapping[str, Any]) -> str:
    """A results.json (parsed) as plain tables for a terminal, a table a task."""
    return _as_text(parse_results(results))


def format_runs(run_dirs: Sequence[epath.PathLike]) -> str:
    """The results of runs as plain tables, one run after the other; gaps are named."""
    blocks = []
    for run in map(read_run, run_dirs):
        name = [f"== {run.name}"] if len(run_dirs) > 1 else []
        results = [_as_text(run.results)] if run.results else []
        blocks.append("\n".join([*name, *run.gaps, *results]))
    return "\n\n".join(blocks)


def _as_text(parsed: Results) -> str:
    comparison = compare(parsed)
    blocks = [heading(parsed)]
    for task in comparison.tasks:
        head = ["metric", "this run", *comparison.systems]
        lines = [
            [row.metric, figure(row.ours), *map(figure, row.others)]
            + ([percent(row.share_of_optimum)] if comparison.has_optimum else [])
            for row in task.rows
        ]
        if comparison.has_optimum:
            head.append("share of optimum")
        examples = "" if task.num_examples is None else f" ({task.num_examples:,} examples)"
        blocks.append(f"{task.task}{examples}\n{_aligned([head, *lines])}")
    return "\n\n".join(blocks)


def heading(results: Results) -> str:
    """What was measured: mixture, dataset, split and step, in a line."""
    step = "" if results.checkpoint_step is None else f", step {results.checkpoint_step:,}"
    return f"{results.mixture} on {results.dataset}, {results.split} split{step}"


def _aligned(table: list[list[str]]) -> str:
    """Names to the left, figures to the right, two spaces between columns."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  "
        + "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in table
    )
