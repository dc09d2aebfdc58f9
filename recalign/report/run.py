"""Reads what a run left behind; what is missing or damaged is named, never passed over."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath

from recalign.errors import UserError

Metrics = Mapping[str, float]

# A page shows the first few examples of a task; files hold every test user.
_EXAMPLES_READ = 3


@dataclasses.dataclass(frozen=True)
class Results:
    """results.json: what a run scored, and what other systems score on the same split."""

    dataset: str
    mixture: str
    checkpoint_step: int | None
    split: str
    engine: str
    tasks: Mapping[str, Metrics]
    references: Mapping[str, Mapping[str, Metrics]]


@dataclasses.dataclass(frozen=True)
class Record:
    """A line of metrics.jsonl: names and numbers at a step, nested names joined by a slash."""

    step: int
    seconds: float | None
    kind: str
    values: Metrics


@dataclasses.dataclass(frozen=True)
class Run:
    """A run's directory in memory. `gaps` says, a sentence each, what could not be shown."""

    name: str
    results: Results | None
    records: tuple[Record, ...]
    predictions: Mapping[str, tuple[Mapping[str, Any], ...]]
    configuration: str | None
    gaps: tuple[str, ...]


def read_run(directory: epath.PathLike) -> Run:
    """Reads a run's MODEL_DIR.

    Raises:
      UserError: there is no such directory, nothing of a run in it, or results.json is damaged.
    """
    path = epath.Path(directory)
    if not path.is_dir():
        raise UserError(f"{path}: no such directory; a run's MODEL_DIR is needed")
    gaps: list[str] = []
    run = Run(
        name=path.name,
        results=_read_results(path / "results.json", gaps),
        records=_read_records(path / "metrics.jsonl", gaps),
        predictions=_read_predictions(path / "predictions", gaps),
        configuration=_read_configuration(path / "config.gin", gaps),
        gaps=tuple(gaps),
    )
    if not (run.results or run.records or run.predictions or run.configuration):
        raise UserError(f"{path}: not a run, it holds neither results.json nor metrics.jsonl")
    return run


def parse_results(raw: object, source: str = "results") -> Results:
    """Checks the shape of a results.json that is already parsed."""
    if not isinstance(raw, dict) or not isinstance(raw.get("tasks"), dict):
        raise UserError(f'{source}: not a results file, it has no object "tasks"')
    references = raw.get("references") or {}
    if not isinstance(references, dict):
        raise UserError(f'{source}: "references" is no object')
    return Results(
        dataset=str(raw.get("dataset", "unknown")),
        mixture=str(raw.get("mixture", "unknown")),
        checkpoint_step=raw.get("checkpoint_step"),
        split=str(raw.get("split", "unknown")),
        engine=str(raw.get("engine", "unknown")),
        tasks=_metrics_of_tasks(raw["tasks"], source),
        references={
            str(system): _metrics_of_tasks(tasks, source) for system, tasks in references.items()
        },
    )


def _metrics_of_tasks(tasks: object, source: str) -> dict[str, dict[str, float]]:
    if not isinstance(tasks, dict) or not all(isinstance(task, dict) for task in tasks.values()):
        raise UserError(f"{source}: expected an object of metrics for every task")
    # null: a metric that could not be computed, such as an AUC of one class.
    return {
        str(name): _numbers({m: math.nan if v is None else v for m, v in metrics.items()})
        for name, metrics in tasks.items()
    }


def _numbers(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Every number by its name, nested names joined: {"a": {"b": 1}} -> {"a/b": 1.0}."""
    numbers: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            numbers |= _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            numbers[f"{prefix}{name}"] = float(value)
    return numbers


def _read_results(path: epath.Path, gaps: list[str]) -> Results | None:
    if not path.exists():
        gaps.append(
            "No results.json: the run is not at its end, or was not evaluated (recalign eval)."
        )
        return None
    try:
        raw = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); evaluate the run again") from error
    results = parse_results(raw, str(path))
    if not results.references:
        gaps.append("No references in results.json: nothing to compare this run with.")
    return results


def _read_records(path: epath.Path, gaps: list[str]) -> tuple[Record, ...]:
    if not path.exists():
        gaps.append("No metrics.jsonl: there are no curves.")
        return ()
    # A step that was logged again after a resume counts once, as it was logged last.
    records: dict[tuple[str, int], Record] = {}
    for raw in _json_lines(path, gaps):
        if not isinstance(raw.get("step"), int):
            continue
        kind = str(raw.get("kind", "train"))
        values = _numbers({k: v for k, v in raw.items() if k not in ("step", "time", "kind")})
        seconds = raw.get("time")
        record = Record(
            step=raw["step"],
            seconds=float(seconds) if isinstance(seconds, int | float) else None,
            kind=kind,
            values={name: value for name, value in values.items() if math.isfinite(value)},
        )
        earlier = records.get((kind, record.step))
        if earlier is not None:
            record = dataclasses.replace(record, values={**earlier.values, **record.values})
        records[kind, record.step] = record
    return tuple(sorted(records.values(), key=lambda record: (record.step, record.kind)))


def _read_predictions(
    directory: epath.Path, gaps: list[str]
) -> dict[str, tuple[Mapping[str, Any], ...]]:
    files = sorted(directory.glob("*.jsonl")) if directory.is_dir() else []
    if not files:
        gaps.append("No predictions: there are no sample prompts.")
    return {
        file.name.removesuffix(".jsonl"): tuple(
            itertools.islice(_json_lines(file, gaps), _EXAMPLES_READ)
        )
        for file in files
    }


def _read_configuration(path: epath.Path, gaps: list[str]) -> str | None:
    if not path.exists():
        gaps.append("No config.gin: the run's configuration is not known.")
        return None
    return path.read_text()


def _json_lines(path: epath.Path, gaps: list[str]) -> Iterator[dict[str, Any]]:
    """The file's objects; a damaged line (a run that was killed leaves one) becomes a gap."""
    with path.open("r") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except ValueError:
                value = None
            if isinstance(value, dict):
                yield value
            else:
                gaps.append(f"{path.name}, line {number} is damaged and was left out.")
