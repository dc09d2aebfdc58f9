"""Reads what `recalign baselines` left behind: figures, settings, and each user's outcome."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from etils import epath

from recalign.data import integrity
from recalign.errors import UserError, shown
from recalign.report.outcomes import DRAW, Outcomes, Ranks, Scores
from recalign.report.run import Metrics, evaluated_of, metrics_of_systems, object_of, read_json

ENGINE = "baselines"


@dataclasses.dataclass(frozen=True)
class Baselines:
    """A baselines folder in memory."""

    name: str  # the folder's
    dataset: str
    split: str
    metrics: Mapping[str, Mapping[str, Metrics]]  # of every model and task
    # Of every model and task that has a file of ranks.
    outcomes: Mapping[str, Mapping[str, Outcomes]]
    kinds: Mapping[str, str]  # what every task is evaluated as
    # Of every model {"library", "version", "settings", "seconds"}, what is known of them.
    systems: Mapping[str, Mapping[str, Any]]
    gaps: tuple[str, ...]  # what could not be shown, a sentence each

    def fingerprint(self, model: str) -> str:
        """Of the dataset that a model was measured on; "" where its settings do not say."""
        return self.systems.get(model, {}).get("settings", {}).get("dataset_fingerprint", "")


def is_baselines(directory: epath.PathLike) -> bool:
    """Whether a directory is a baselines folder and not a run; a UserError where it is damaged."""
    path = epath.Path(directory) / "results.json"
    if not path.exists():
        return False
    raw = read_json(path)
    return isinstance(raw, dict) and raw.get("engine") == ENGINE


def read_baselines(directory: epath.PathLike, name: str | None = None) -> Baselines:
    """Reads a folder that `recalign baselines` wrote; a UserError where a file is damaged.

    The report calls it `name`, else by the folder's own.
    """
    path = epath.Path(directory)
    source = path / "results.json"
    raw = read_json(source)
    found = metrics_of_systems(raw.get("references") or {}, str(source))
    digests = object_of(raw, "ranks", str(source))
    gaps: list[str] = []
    outcomes: dict[str, dict[str, Outcomes]] = {}
    for model, tasks in found.items():
        for task in tasks:
            ranks = path / "ranks" / f"{model}-{task}.parquet"
            if ranks.exists():
                outcomes.setdefault(model, {})[task] = read_outcomes(ranks, digests.get(ranks.name))
            else:
                gaps.append(f"No ranks/{ranks.name}: {model} has no intervals on {task}.")
    evaluated = evaluated_of(raw, str(source))
    kinds = {task: str(about.get("evaluated_as") or "") for task, about in evaluated.items()}
    for task in {task: None for tasks in found.values() for task in tasks if task not in kinds}:
        gaps.append(f"results.json does not say what {task} is: measure again (--force).")
    return Baselines(
        name=name or path.name,
        dataset=str(raw.get("dataset", "unknown")),
        split=str(raw.get("split", "unknown")),
        metrics=found,
        outcomes=outcomes,
        kinds=kinds,
        systems=_systems(raw, str(source)),
        gaps=tuple(gaps),
    )


def _systems(raw: Mapping[str, Any], source: str) -> dict[str, Mapping[str, Any]]:
    systems = object_of(raw, "systems", source)
    for about in systems.values():
        settings = about.get("settings", {}) if isinstance(about, dict) else None
        seconds = about.get("seconds", 0) if isinstance(about, dict) else None
        if not isinstance(settings, dict) or not isinstance(seconds, int | float):
            raise UserError(
                f'{source}: "systems" says of a model no settings or seconds: {shown(about)}'
            )
    return dict(systems)


def read_outcomes(path: epath.Path, digest: str | None = None) -> Outcomes:
    """A file of `row`, each once, and `rank` (from 0; below 0: not ranked) or `score` and `label`.

    `digest` is of its content as it was written; None where nothing says it.

    Raises:
      UserError: it is no such file, or not as it was written.
    """
    try:
        content = path.read_bytes()
        if digest not in (None, integrity.digest_of(content)):
            raise UserError(
                f"{path}: damaged: not as it was written: measure again (recalign baselines)"
            )
        table = pq.read_table(pa.BufferReader(content))
        rows = _column(table, "row", pa.types.is_integer)
        order = np.argsort(rows, kind="stable")
        rows = rows[order].astype(np.int64)
        if not len(rows):
            raise ValueError("it has no user")
        if rows[0] < 0 or rows[-1] >= DRAW:
            raise ValueError(f"row is {rows[0] if rows[0] < 0 else rows[-1]}")
        if len(twice := rows[1:][np.diff(rows) == 0]):
            raise ValueError(f"row {twice[0]} stands there twice")
        if "rank" in table.column_names:
            ranks = _column(table, "rank", _is_number)[order].astype(np.float64)
            return Ranks(rows, np.where(ranks < 0, np.inf, ranks))
        labels = _column(table, "label", pa.types.is_integer)[order]
        if len(others := labels[(labels != 0) & (labels != 1)]):
            raise ValueError(f"label is {others[0]}")
        scores = _column(table, "score", _is_number)[order].astype(np.float64)
        return Scores(rows, scores, labels.astype(np.int8))
    except (OSError, KeyError, ValueError, OverflowError, pa.ArrowException) as error:
        said = str(error).splitlines()[0][:200]
        raise UserError(
            f"{path}: no file of ranks or scores ({said}): measure again (recalign baselines)"
        ) from error


def _is_number(of_column: pa.DataType) -> bool:
    return pa.types.is_integer(of_column) or pa.types.is_floating(of_column)


def _column(table: pa.Table, name: str, has_type: Callable[[pa.DataType], bool]) -> np.ndarray:
    """A column of numbers, each of which is there; else a ValueError."""
    if table.column_names.count(name) != 1:
        raise ValueError(f"{table.column_names.count(name)} columns are called {name}")
    column = table[name]
    if not has_type(column.type):
        raise ValueError(f"{name} is of type {column.type}")
    values = column.to_numpy()
    if column.null_count or (values.dtype.kind == "f" and np.isnan(values).any()):
        raise ValueError(f"{name} is null or NaN for some user")
    return values
