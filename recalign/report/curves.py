"""Curves of training: the loss of every run, and the validation metric that speaks for a task."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from recalign.report.charts import Chart, Line, ends, line_chart
from recalign.report.comparison import HEADLINES
from recalign.report.run import Record, Run

_LOSS = "loss"


def curves(rows: Sequence[tuple[str, Sequence[Run]]]) -> list[Chart]:
    """The charts that these rows, each with the runs of its seeds, have anything for."""
    charts = [
        _chart("Training loss", rows, "train", _LOSS),
        _chart("Validation loss", rows, "eval", _LOSS),
    ]
    names = {name for _, runs in rows for run in runs for name in _headlines(run.records)}
    for name in sorted(names):
        title = f"Validation: {name.removeprefix('tasks/').replace('/', ', ')}"
        charts.append(_chart(title, rows, "eval", name, from_zero=True))
    return [chart for chart in charts if chart is not None]


def _headlines(records: Sequence[Record]) -> list[str]:
    """The recorded name of the metric that speaks for each task."""
    measured = {name for record in records if record.kind == "eval" for name in record.values}
    of_task: dict[str, dict[str, str]] = {}
    for name in measured:
        task, _, metric = name.rpartition("/")
        of_task.setdefault(task, {})[metric] = name
    found = ([names[it] for it in HEADLINES if it in names] for names in of_task.values())
    return [names[0] for names in found if names]


def _line(label: str, runs: Sequence[Run], kind: str, name: str) -> Line | None:
    """The mean over the seeds of every step that all of them have, and how far apart they are."""
    every = (
        {r.step: r.values[name] for r in run.records if r.kind == kind and name in r.values}
        for run in runs
    )
    of_seeds = [values for values in every if values]
    if not of_seeds:
        return None
    steps = sorted(set.intersection(*map(set, of_seeds)))
    values = [[of_seed[step] for of_seed in of_seeds] for step in steps]
    spread = {"low": [*map(min, values)], "high": [*map(max, values)]} if len(of_seeds) > 1 else {}
    return Line(label, steps, [*map(statistics.fmean, values)], **spread)


def _chart(
    title: str,
    rows: Sequence[tuple[str, Sequence[Run]]],
    kind: str,
    name: str,
    *,
    from_zero: bool = False,
) -> Chart | None:
    lines = [_line(label, runs, kind, name) for label, runs in rows]
    found = [line for line in lines if line is not None and line.x]
    if not found:
        return None
    seeds = " A bar is from the lowest to the highest seed." if any(x.low for x in found) else ""
    return line_chart(
        title,
        found,
        x_label="step",
        summary=f"{title} by training step. {ends(found, 'step')}.{seeds}",
        y_from_zero=from_zero,
    )
