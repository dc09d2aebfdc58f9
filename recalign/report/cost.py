"""What a run cost: examples a second, hours, and device hours, from metrics.jsonl."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from recalign.report.run import Run
from recalign.report.tables import MISSING, Cell, Table


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
