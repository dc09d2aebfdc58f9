"""Curves of training: the loss of every run, and the validation metric that speaks for a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recalign.report.charts import Chart, Line, ends, line_chart
from recalign.report.comparison import HEADLINES
from recalign.report.run import Record, Run

_LOSS = "loss"

Points = tuple[Sequence[float], Sequence[float]]


def curves(runs: Sequence[tuple[str, Run]]) -> list[Chart]:
    """The charts that these runs, each with its name, have anything for."""
    charts = [_chart("Training loss", {n: _points(r.records, "train", _LOSS) for n, r in runs})]
    charts.append(
        _chart("Validation loss", {n: _points(r.records, "eval", _LOSS) for n, r in runs})
    )
    for name in sorted({name for _, run in runs for name in _headlines(run.records)}):
        charts.append(
            _chart(
                f"Validation: {name.removeprefix('tasks/').replace('/', ', ')}",
                {n: _points(r.records, "eval", name) for n, r in runs},
                from_zero=True,
            )
        )
    return [chart for chart in charts if chart is not None]


def _headlines(records: Sequence[Record]) -> list[str]:
    """The recorded name of the metric that speaks for each task."""
    measured = {name for record in records if record.kind == "eval" for name in record.values}
    of_task: dict[str, dict[str, str]] = {}
    for name in measured:
        task, _, metric = name.rpartition("/")
        of_task.setdefault(task, {})[metric] = name
    found = (
        next((names[metric] for metric in HEADLINES if metric in names), None)
        for names in of_task.values()
    )
    return [name for name in found if name is not None]


def _points(records: Sequence[Record], kind: str, name: str) -> Points:
    found = [r for r in records if r.kind == kind and name in r.values]
    return [record.step for record in found], [record.values[name] for record in found]


def _chart(title: str, series: Mapping[str, Points], *, from_zero: bool = False) -> Chart | None:
    series = {label: points for label, points in series.items() if points[0]}
    if not series:
        return None
    return line_chart(
        title,
        [Line(label, *points) for label, points in series.items()],
        x_label="step",
        summary=f"{title} by training step. {ends(series, 'step')}.",
        y_from_zero=from_zero,
    )
