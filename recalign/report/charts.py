"""Charts as inline SVG by Matplotlib, in the page's own colours, with what they say in words."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Callable, Sequence
from typing import Any

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
_MARKERS = ("o", "s", "^", "D", "v", "P")
MOST_LINES = len(_LINES)


@dataclasses.dataclass(frozen=True)
class Chart:
    """A drawn chart and what it says, in words, for who does not see it."""

    title: str
    svg: str
    summary: str


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a chart: y over x, from `low` to `high` where how sure they are is known."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    x_label: str,
    summary: str,
    y_from_zero: bool = False,
    ticks: Sequence[str] | None = None,
    diagonal: bool = False,
    points: bool = False,
) -> Chart:
    """Draws lines; those above six are left out, and the title says so.

    Args:
      ticks: names of x = 0, 1, …; None: x is a number.
      diagonal: both axes from 0 to 1 with the diagonal, as ROC and calibration have it.
      points: marks every point.
    """
    shown = lines[:MOST_LINES]
    if len(lines) > len(shown):
        title += f" (the first {len(shown)} of {len(lines)} lines)"
        summary += f" {len(lines) - len(shown)} more are not drawn."

    def draw(axes: Any) -> None:
        if diagonal:
            axes.plot([0, 1], [0, 1], color=_GRID, linewidth=1)
            axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        for number, line in enumerate(shown):
            # Side by side, where intervals would hide each other.
            shift = 0.07 * (number - (len(shown) - 1) / 2) if ticks else 0.0
            x = [value + shift for value in line.x]
            style = {
                "label": line.label,
                "color": _LINES[number],
                "linestyle": _DASHES[number],
                "linewidth": 1.6,
                "marker": _MARKERS[number] if points or len(x) < 2 else None,
                "markersize": 4,
            }
            axes.plot(x, line.y, **style)
            if line.low is not None and line.high is not None:
                axes.vlines(x, line.low, line.high, color=_LINES[number], linewidth=1)
        if y_from_zero:
            highest = max(
                (v for line in shown for v in (line.high or line.y) if v == v), default=1.0
            )
            axes.set_ylim(0, 1.05 * highest or 1)
        if ticks:
            axes.set_xticks(range(len(ticks)), ticks)
        axes.set_xlabel(x_label)

    return Chart(
        title, _draw(summary, draw, len(shown), whole_steps=not (ticks or diagonal)), summary
    )


def _draw(salt: str, draw: Callable[[Any], None], lines: int, whole_steps: bool) -> str:
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    style = {
        "svg.fonttype": "none",  # text stays text: it takes the page's font and can be read out
        "text.parse_math": False,  # a dollar in a name is a dollar
        "svg.hashsalt": salt,  # element names depend on the drawing alone, and are its own
        "font.size": 11,
        "axes.edgecolor": _GRID,
        "axes.labelcolor": _INK,
        "text.color": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(5.2, 3.0 + 0.2 * lines), layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        axes.grid(axis="y", color=_GRID, linewidth=0.7)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(length=0)
        if whole_steps:
            axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
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
    used = set(re.findall(r"#([\w.-]+)", body))
    body = re.sub(r' id="([^"]*)"', lambda name: name[0] if name[1] in used else "", body)
    for color, variable in _VARIABLES.items():
        body = body.replace(color, variable)
    return f'<svg {box[0]} aria-hidden="true" focusable="false">{body}'


def ends(lines: Sequence[Line], x: str) -> str:
    """Where lines begin and end, in words: "loss: 2.3 at step 10, 1.2 at step 200"."""
    return "; ".join(
        f"{line.label}: {line.y[0]:.4g} at {x} {line.x[0]:,}"
        + (f", {line.y[-1]:.4g} at {x} {line.x[-1]:,}" if len(line.x) > 1 else "")
        for line in lines
    )
