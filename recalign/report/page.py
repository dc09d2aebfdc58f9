"""The report: one HTML page that needs no network, the same bytes for the same runs."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.resources
import math
import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import markupsafe
from etils import epath

from recalign import __version__
from recalign.report import comparison, curves
from recalign.report.run import Run, read_run

_BEAMS_SHOWN = 5
_LIBRARIES = ("jax", "flax", "optax", "orbax-checkpoint", "seqio", "tensorflow", "numpy")


@dataclasses.dataclass(frozen=True)
class Beam:
    """A beam as the page shows it; the probability is of the whole text, end included."""

    text: str
    probability: float | None
    is_target: bool


@dataclasses.dataclass(frozen=True)
class Sample:
    """An example of a task: what the model read, what was asked for, what it answered.

    `rank` and `pool_rank` count from 1; None: not among the beams. `pool` holds the first answers
    of a decoding restricted to the prompt's candidates, where there was one.
    """

    prompt: str
    target: str
    beams: tuple[Beam, ...]
    beams_left_out: int
    rank: int | None
    pool: tuple[str, ...]
    pool_rank: int | None


@dataclasses.dataclass(frozen=True)
class RunView:
    """A run, ready for the template."""

    run: Run
    anchor: str
    heading: str
    comparison: comparison.Comparison | None
    charts: tuple[curves.Chart, ...]
    samples: Mapping[str, tuple[Sample, ...]]
    facts: tuple[tuple[str, str], ...]


def write_report(run_dirs: Sequence[epath.PathLike], out: epath.PathLike) -> None:
    """Writes the page of these runs to `out`, whole or not at all.

    Raises:
      UserError: a directory holds no run, or its results.json is damaged.
    """
    page = render([read_run(directory) for directory in run_dirs])
    path = epath.Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(page)
    partial.replace(path)


def render(runs: Sequence[Run]) -> str:
    """The page as text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("recalign.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["figure"] = comparison.figure
    environment.filters["percent"] = comparison.percent
    environment.filters["width"] = lambda value: f"{100 * min(max(value, 0.0), 1.0):.1f}%"
    environment.filters["zip"] = zip
    style = importlib.resources.files("recalign.report").joinpath("style.css").read_text()
    views = [_view(number, run) for number, run in enumerate(runs, start=1)]
    return environment.get_template("page.html").render(
        style=markupsafe.Markup(style),
        views=views,
        overview=_overview(views) if len(views) > 1 else {},
        versions=_versions(),
    )


def _view(number: int, run: Run) -> RunView:
    charts = (curves.loss_chart(run.records), curves.metrics_chart(run.records))
    return RunView(
        run=run,
        anchor=f"run-{number}",
        heading=comparison.heading(run.results) if run.results else run.name,
        comparison=comparison.compare(run.results) if run.results else None,
        charts=tuple(chart for chart in charts if chart is not None),
        samples={
            name: tuple(_sample(example) for example in examples)
            for name, examples in _in_order_of_tables(run)
        },
        facts=_facts(run),
    )


def _in_order_of_tables(run: Run) -> list[tuple[str, Sequence[Mapping[str, Any]]]]:
    """The predictions' files, named `<task>-<split>`, in the order of the tables."""
    return sorted(run.predictions.items(), key=lambda pair: comparison.place_of_task(pair[0]))


def _sample(example: Mapping[str, Any]) -> Sample:
    texts = [str(text) for text in example.get("beams") or ()]
    pool = [str(text) for text in example.get("candidates_beams") or ()]
    log_probs = list(example.get("log_probs") or ())
    target = str(example.get("target", ""))
    beams = tuple(
        Beam(
            text=text,
            probability=math.exp(log_probs[index]) if index < len(log_probs) else None,
            is_target=text == target,
        )
        for index, text in enumerate(texts)
    )
    return Sample(
        prompt=str(example.get("prompt", "")),
        target=target,
        beams=beams[:_BEAMS_SHOWN],
        beams_left_out=max(0, len(beams) - _BEAMS_SHOWN),
        rank=texts.index(target) + 1 if target in texts else None,
        pool=tuple(pool[:_BEAMS_SHOWN]),
        pool_rank=pool.index(target) + 1 if target in pool else None,
    )


def _facts(run: Run) -> tuple[tuple[str, str], ...]:
    facts = [("directory", run.name)]
    if run.results:
        facts += [
            ("dataset", run.results.dataset),
            ("mixture", run.results.mixture),
            ("split", run.results.split),
            ("engine", run.results.engine),
        ]
        if run.results.checkpoint_step is not None:
            facts.append(("checkpoint", f"step {run.results.checkpoint_step:,}"))
    if run.records:
        facts.append(("last step", f"{run.records[-1].step:,}"))
    times = [record.seconds for record in run.records if record.seconds is not None]
    if len(times) > 1:
        facts.append(("first to last record", _duration(max(times) - min(times))))
    return tuple(facts)


def _duration(seconds: float) -> str:
    """3725.2 -> '1 h 2 min', 125 -> '2 min 5 s'."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 60} min {whole % 60} s"


def _overview(views: Sequence[RunView]) -> dict[str, list[tuple[str, list[float | None]]]]:
    """{task: [(metric, a figure a run)]}, of the tasks that more than one run has."""
    figures: dict[str, dict[str, list[float | None]]] = {}
    for index, view in enumerate(views):
        for task in view.comparison.tasks if view.comparison else ():
            for row in task.rows:
                of_metric = figures.setdefault(task.task, {})
                of_metric.setdefault(row.metric, [None] * len(views))[index] = row.ours
    return {
        task: list(rows.items())
        for task, rows in figures.items()
        if sum(any(row[i] is not None for row in rows.values()) for i in range(len(views))) > 1
    }


def _versions() -> list[tuple[str, str]]:
    """Of what wrote this page: the same environment as the run's, where nobody moved the run."""
    versions = [("recalign", __version__), ("Python", platform.python_version())]
    for library in _LIBRARIES:
        try:
            versions.append((library, importlib.metadata.version(library)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
