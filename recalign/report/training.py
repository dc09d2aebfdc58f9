"""How each row was made: its settings and the command, the curves of its training, what it cost."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from recalign.report.charts import Chart, Line, ends, line_chart
from recalign.report.comparison import HEADLINES
from recalign.report.run import Record, Run
from recalign.report.tables import MISSING, Cell, Table

_LOSS = "loss"


# Settings -----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Setup:
    """How a row was made."""

    label: str  # the row's
    # (name, values): one value where all seeds have the same, else one a seed.
    facts: tuple[tuple[str, tuple[str, ...]], ...]
    text: str | None  # config.gin, the first seed's; None: it has none


def setup_of(label: str, seeds: Sequence[Run]) -> Setup:
    facts: dict[str, list[str]] = {}
    for run in seeds:
        for name, value in _facts(run):
            facts.setdefault(name, []).append(value)
    first = seeds[0].configuration
    return Setup(
        label,
        tuple((name, tuple(v if len(set(v)) > 1 else v[:1])) for name, v in facts.items()),
        first.text if first else None,
    )


def _facts(run: Run) -> list[tuple[str, str]]:
    facts = [("directory", run.name)]
    results, configuration = run.results, run.configuration
    if results:
        facts += [
            ("dataset", f"{results.dataset}, {results.split} split"),
            ("mixture", results.mixture),
            ("engine", results.engine),
        ]
        if results.checkpoint_step is not None:
            facts.append(("checkpoint", f"step {results.checkpoint_step:,}"))
    if configuration:
        facts.append(("model", configuration.model.label))
        if configuration.seed is not None:
            facts.append(("seed", str(configuration.seed)))
    if run.records:
        facts.append(("last step", f"{run.records[-1].step:,}"))
    if results and results.versions:
        versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
        facts.append(("versions", versions))
    if results and results.device:
        facts.append(("device", f"{results.device.get('count')} × {results.device.get('kind')}"))
    if configuration:
        command = "recalign train --gin_file={}/config.gin --gin.MODEL_DIR=\"'runs/again'\""
        facts.append(("again", command.format(run.name)))
    return facts


def baselines_table(systems: Sequence[tuple[str, Mapping[str, Any]]]) -> Table | None:
    """Which library, version and settings each baseline has; None where nothing is known."""
    if not systems:
        return None
    rows = []
    for name, about in systems:
        made_with = (str(about.get(part) or MISSING) for part in ("library", "version"))
        rows.append(tuple(map(Cell, (name, *made_with, _settings(about.get("settings"))))))
    columns = ("system", "library", "version", "settings")
    return Table("baselines", "How the baselines were made", columns, tuple(rows))


def _settings(settings: Any) -> str:
    if not settings:
        return MISSING
    if isinstance(settings, dict):
        return ", ".join(f"{name} = {json.dumps(value)}" for name, value in settings.items())
    return str(settings)


# Curves -------------------------------------------------------------------------------------------


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


# Cost ---------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of a run's training; None: metrics.jsonl or config.gin do not say."""

    steps: int | None  # that were trained
    examples_per_second: float | None  # the median over the lines of metrics.jsonl
    training_seconds: float | None  # in training steps alone
    validation_seconds: float  # in validation
    device: str  # what it ran on
    devices: int | None  # how many

    @property
    def device_hours(self) -> float | None:
        if self.training_seconds is None or self.devices is None:
            return None
        return (self.training_seconds + self.validation_seconds) * self.devices / 3600


def cost(run: Run) -> Cost:
    """Adds up a run's lines; a pause between two parts of a run costs nothing."""
    train = [r for r in run.records if r.kind == "train" and "steps_per_second" in r.values]
    first = run.configuration.first_step if run.configuration else 0
    rates = [record.values["steps_per_second"] for record in train]
    seconds, before = 0.0, first
    for record in train:
        seconds += (record.step - before) / record.values["steps_per_second"]
        before = record.step
    # What packed rows held between the lines, not how many rows there were.
    held = [sum(v for n, v in r.values.items() if n.startswith("examples/")) for r in train]
    between = train[-1].step - train[0].step if train else 0
    a_step = (held[-1] - held[0]) / between if between > 0 else None
    device = run.results.device if run.results else {}
    return Cost(
        steps=train[-1].step - first if train else None,
        examples_per_second=None if a_step is None else statistics.median(rates) * a_step,
        training_seconds=seconds if train else None,
        validation_seconds=sum(r.values.get("seconds", 0) for r in run.records if r.kind == "eval"),
        device=str(device.get("kind", "")),
        devices=device.get("count"),
    )


def cost_table(
    runs: Sequence[tuple[str, Run]], baselines: Sequence[tuple[str, Mapping[str, Any]]]
) -> Table | None:
    """A row a run, named as in the tables, and a row a baseline whose time is known."""
    rows: list[tuple[Cell, ...]] = []
    for label, run in runs:
        found = cost(run)
        if found.training_seconds is None:
            continue
        rows.append(
            (
                Cell(label),
                _cell(found.steps, "{:,}"),
                _cell(found.examples_per_second, "{:,.1f}"),
                Cell(duration(found.training_seconds), found.training_seconds),
                Cell(duration(found.validation_seconds), found.validation_seconds),
                Cell(f"{found.devices} × {found.device}" if found.devices else MISSING),
                _cell(found.device_hours, "{:.2f}"),
            )
        )
    unknown = Cell(MISSING)
    for name, system in baselines:
        if "seconds" in system:
            whole = float(system["seconds"])
            took = Cell(duration(whole), whole)
            rows.append((Cell(name), unknown, unknown, took, unknown, unknown, unknown))
    if not rows:
        return None
    return Table(
        key="cost",
        title="Cost of training",
        columns=(
            "run", "steps", "examples/s", "training", "validation", "devices", "device hours",
        ),
        rows=tuple(rows),
        notes=(
            "Examples a second: the median of the training's rate. Device hours: training and"
            " validation, times the devices of the process that evaluated the run.",
        ),
    )  # fmt: skip


def _cell(value: float | None, form: str) -> Cell:
    return Cell(MISSING if value is None else form.format(value), value)


def duration(seconds: float) -> str:
    """3725.2 -> '1 h 2 min', 125 -> '2 min 5 s'."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 60} min {whole % 60} s"
