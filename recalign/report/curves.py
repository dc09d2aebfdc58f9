"""Curves of a run as inline SVG: the loss, and the validation metrics that speak for each task."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Mapping, Sequence

from recalign.report.comparison import HEADLINES
from recalign.report.run import Record

# The page colours the lines (style.css), so that they follow light and dark; Matplotlib draws with
# these stand-ins, which are replaced by the page's variables.
_INK = "#010203"
_GRID = "#040506"
_LINES = ("#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04", "#0a0b05", "#0a0b06")
_VARIABLES = {
    _INK: "var(--soft)",
    _GRID: "var(--rule)",
    **{color: f"var(--line-{number})" for number, color in enumerate(_LINES, start=1)},
}
# Also told apart without colour.
_DASHES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
_LOSS = "loss"

Points = Sequence[tuple[int, float]]


@dataclasses.dataclass(frozen=True)
class Chart:
    """A drawn chart and what it says, in words, for who does not see it."""

    title: str
    svg: str
    summary: str


def loss_chart(records: Sequence[Record]) -> Chart | None:
    """The training loss, and the validation loss where it was measured."""
    series = {}
    for kind, label in (("train", "training"), ("eval", "validation")):
        points = _points(records, kind, _LOSS)
        if points:
            series[label] = points
    return _chart("Loss", series)


def metrics_chart(records: Sequence[Record]) -> Chart | None:
    """The metric that speaks for each task, over the validation split."""
    measured = {name for record in records if record.kind == "eval" for name in record.values}
    of_task: dict[str, set[str]] = {}
    for name in measured:
        task, _, metric = name.removeprefix("tasks/").rpartition("/")
        of_task.setdefault(task, set()).add(metric)
    series = {}
    for task in sorted(of_task):
        headline = next((metric for metric in HEADLINES if metric in of_task[task]), None)
        if headline is not None:
            name = f"{task}/{headline}" if task else headline
            recorded = name if name in measured else f"tasks/{name}"
            series[name.replace("/", " ")] = _points(records, "eval", recorded)
    return _chart("Validation", series, from_zero=True)


def _points(records: Sequence[Record], kind: str, name: str) -> list[tuple[int, float]]:
    return [
        (record.step, record.values[name])
        for record in records
        if record.kind == kind and name in record.values
    ]


def _chart(title: str, series: Mapping[str, Points], *, from_zero: bool = False) -> Chart | None:
    if not series:
        return None
    summary = "; ".join(
        f"{label}: {points[0][1]:.4g} at step {points[0][0]:,}"
        + (f", {points[-1][1]:.4g} at step {points[-1][0]:,}" if len(points) > 1 else "")
        for label, points in series.items()
    )
    return Chart(title, _draw(title, series, from_zero), f"{title} by training step. {summary}.")


def _draw(title: str, series: Mapping[str, Points], from_zero: bool) -> str:
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    style = {
        "svg.fonttype": "none",  # text stays text: it takes the page's font and can be read out
        "svg.hashsalt": title,  # element names depend on the drawing alone
        "font.size": 10,
        "axes.edgecolor": _GRID,
        "axes.labelcolor": _INK,
        "text.color": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(5.2, 3.0 + 0.2 * len(series)), layout="constrained")
        axes = figure.add_subplot()
        for number, (label, points) in enumerate(series.items()):
            steps, values = zip(*points, strict=True)
            axes.plot(
                steps,
                values,
                label=label,
                color=_LINES[number % len(_LINES)],
                linestyle=_DASHES[number % len(_DASHES)],
                linewidth=1.6,
                marker="o" if len(points) < 2 else None,
                markersize=4,
            )
        if from_zero:
            highest = max(value for points in series.values() for _, value in points)
            axes.set_ylim(0, 1.05 * highest or 1)
        axes.grid(axis="y", color=_GRID, linewidth=0.7)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(length=0)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
        figure.legend(loc="outside upper left", frameon=False, ncols=1, handlelength=3)
        buffer = io.StringIO()
        figure.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    return _inline(buffer.getvalue())


def _inline(svg: str) -> str:
    """Drops the document's prologue, size and metadata; colours become the page's variables."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    head, body = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None, "Matplotlib's SVG has a viewBox"
    for color, variable in _VARIABLES.items():
        body = body.replace(color, variable)
    return f'<svg {box[0]} aria-hidden="true" focusable="false">{body}'
