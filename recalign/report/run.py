"""Reads what a run left behind; what is missing or damaged is named, never passed over."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from recalign.data import integrity, origins
from recalign.errors import UserError, shown
from recalign.report import agreement
from recalign.report.configuration import Configuration, read_configuration
from recalign.report.predictions import Predictions, read_predictions

Metrics = Mapping[str, float]
# Of a line of metrics.jsonl, what is no figure of the run.
_NO_VALUES = ("step", "time", "kind", "line")


@dataclasses.dataclass(frozen=True)
class Results:
    """results.json: what a run scored, and what other systems score on the same split.

    `evaluated` says of each task its "kind", what it is "evaluated_as" and its "answers"; `model`
    the model's "size", "parameters" and whether it was "pretrained"; `versions` and `device` what
    evaluated it, `made_from` what the figures are made from, as in run.json; `fusion` names the
    prior that a task's model was joined with. All are empty where the file says nothing.
    """

    dataset: str
    mixture: str
    checkpoint_step: int | None
    split: str
    engine: str
    tasks: Mapping[str, Metrics]
    references: Mapping[str, Mapping[str, Metrics]]
    versions: Mapping[str, str]
    device: Mapping[str, Any]
    made_from: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    evaluated: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    model: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fusion: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def evaluated_as(self, task: str) -> str:
        """ "retrieval", "ranking" or "rating"; "" for other tasks."""
        return str(self.evaluated.get(task, {}).get("evaluated_as") or "")

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """What its datasets held."""
        found = self.made_from.get("datasets")
        return found if isinstance(found, dict) else {}


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
    predictions: Mapping[str, Predictions]
    configuration: Configuration | None
    gaps: tuple[str, ...]


def names_of(directories: Sequence[epath.PathLike]) -> list[str]:
    """Short names that tell directories apart: of each the shortest end that no other has.

    >>> names_of(["runs/seed0/ut", "runs/seed1/ut", "runs/reat"])
    ['seed0/ut', 'seed1/ut', 'reat']
    """
    paths = [epath.Path(directory).parts for directory in directories]
    ends = [["/".join(path[-count:]) for count in range(1, len(path) + 1)] for path in paths]
    counts = collections.Counter(end for of_path in ends for end in of_path)
    return [next((end for end in of if counts[end] == 1), of[-1]) for of in ends]


def read_run(directory: epath.PathLike, name: str | None = None) -> Run:
    """Reads a run's MODEL_DIR; the report calls it `name`, else by the directory's own.

    The predictions are by task, those of the split of results.json.

    Raises:
      UserError: there is no such directory, nothing of a run in it, or results.json is damaged, or
        of another run.
    """
    path = epath.Path(directory)
    if not path.is_dir():
        raise UserError(f"{path}: no such directory; a run's MODEL_DIR is needed")
    gaps: list[str] = []
    results = _read_results(path / "results.json", gaps)
    model = results.model if results else {}
    configuration = _read_configuration(path / "config.gin", model, gaps)
    before = _read_origin(path, gaps)
    if results:
        agreement.check_results(path, results.made_from, results.checkpoint_step, before, gaps)
    saved = agreement.saved_checkpoints(path)
    if before and (other := agreement.other_checkpoints(path, saved)):
        gaps.append(f"{other}: saved by another run than {origins.FILE} is of.")
    if configuration and (other := agreement.other_settings(configuration.settings, before)):
        gaps.append(
            f"config.gin is not this run's: {other}: its model, seed and settings are not known."
        )
        configuration = None
    run = Run(
        name=name or path.name,
        results=results,
        records=_read_records(path / "metrics.jsonl", agreement.lines_of_log(saved), gaps),
        predictions=_read_predictions(path / "predictions", results, gaps) if results else {},
        configuration=configuration,
        gaps=tuple(gaps),
    )
    if not (run.results or run.records or run.configuration):
        raise UserError(f"{path}: not a run, it holds neither results.json nor metrics.jsonl")
    return run


def parse_results(raw: object, source: str = "results") -> Results:
    """Checks the shape of a results.json that is already parsed."""
    if not isinstance(raw, dict) or not isinstance(raw.get("tasks"), dict):
        raise UserError(f'{source}: not a results file, it has no object "tasks"')
    step = raw.get("checkpoint_step")
    if not isinstance(step, int | None):
        raise UserError(f'{source}: "checkpoint_step" is no whole number but {step!r}')
    return Results(
        dataset=str(raw.get("dataset", "unknown")),
        mixture=str(raw.get("mixture", "unknown")),
        checkpoint_step=step,
        split=str(raw.get("split", "unknown")),
        engine=str(raw.get("engine", "unknown")),
        versions=object_of(raw, "versions", source),
        device=object_of(raw, "device", source),
        made_from=object_of(raw, "made_from", source),
        model=object_of(raw, "model", source),
        tasks=metrics_of_tasks(raw["tasks"], source),
        references=metrics_of_systems(raw.get("references") or {}, source),
        evaluated=evaluated_of(raw, source),
        fusion={
            task: str(about.get("prior")) if isinstance(about, dict) else str(about)
            for task, about in object_of(raw, "fusion", source).items()
        },
    )


def object_of(raw: Mapping[str, Any], name: str, source: str) -> Mapping[str, Any]:
    """An object in a results file; empty where there is none."""
    value = raw.get(name) or {}
    if not isinstance(value, dict):
        raise UserError(f'{source}: "{name}" is no object')
    return value


def evaluated_of(raw: Mapping[str, Any], source: str) -> Mapping[str, Mapping[str, Any]]:
    found = object_of(raw, "evaluated", source)
    for task, about in found.items():
        if not isinstance(about, dict) or not isinstance(about.get("evaluated_as", ""), str | None):
            raise UserError(f'{source}: "evaluated" says of {shown(task)} no kind: {shown(about)}')
    return found


def metrics_of_systems(systems: object, source: str) -> dict[str, dict[str, dict[str, float]]]:
    """Checks {system: {task: {metric: value}}}, as `references` are."""
    if not isinstance(systems, dict):
        raise UserError(f'{source}: "references" is no object')
    return {str(system): metrics_of_tasks(tasks, source) for system, tasks in systems.items()}


def metrics_of_tasks(tasks: object, source: str) -> dict[str, dict[str, float]]:
    """Checks {task: {metric: value}}; null, a metric that could not be computed, becomes NaN."""
    if not isinstance(tasks, dict) or not all(isinstance(task, dict) for task in tasks.values()):
        raise UserError(f"{source}: expected an object of metrics for every task")
    return {
        str(name): _numbers({m: math.nan if v is None else v for m, v in metrics.items()})
        for name, metrics in tasks.items()
    }


def read_json(path: epath.Path) -> Any:
    """A JSON file's value; a UserError where it is none."""
    try:
        value = integrity.read_json(path)
    except UserError as error:
        raise UserError(f"{error}; evaluate again") from error
    if isinstance(value, dict) and integrity.DIGEST in value and not integrity.is_sealed(value):
        raise UserError(f"{path}: damaged: not as it was written; evaluate again")
    return value


def _numbers(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Every number by its name, nested names joined: {"a": {"b": 1}} -> {"a/b": 1.0}."""
    numbers: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            numbers |= _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            try:
                numbers[f"{prefix}{name}"] = float(value)
            except OverflowError as error:
                raise UserError(f"{prefix}{name} is too large a number") from error
    return numbers


def _read_results(path: epath.Path, gaps: list[str]) -> Results | None:
    if not path.exists():
        gaps.append(
            "No results.json: the run is not at its end, or was not evaluated (recalign eval)."
        )
        return None
    raw = read_json(path)
    try:
        results = parse_results(raw, str(path))
        dict(origins.flat(results.made_from))  # whether its nesting can be read
    except (UserError, RecursionError) as error:
        said = str(error).removeprefix(f"{path}: ")
        raise UserError(f"{path}: {said}; evaluate again") from error
    if integrity.DIGEST not in raw and (path.parent / "run.json").exists():
        gaps.append("results.json has no digest: it is not as recalign wrote it.")
    return results


def _read_records(path: epath.Path, lines: int, gaps: list[str]) -> tuple[Record, ...]:
    """Of metrics.jsonl, which had so many lines when the newest checkpoint was saved."""
    if not path.exists():
        gaps.append("No metrics.jsonl: there are no curves.")
        return ()
    # A step that was logged again after a resume counts once, as it was logged last.
    records: dict[tuple[str, int], Record] = {}
    found = list(_numbered_lines(path, gaps))
    gaps += _lines_that_are_missing(found, lines)
    for raw in (value for _, value in found if value is not None):
        step = raw.get("step")
        if not isinstance(step, int) or isinstance(step, bool) or not 0 <= step < 2**53:
            gaps.append("A line of metrics.jsonl has no step and was left out.")
            continue
        kind = str(raw.get("kind", "train"))
        seconds = raw.get("time")
        try:
            values = _numbers({k: v for k, v in raw.items() if k not in _NO_VALUES})
            seconds = float(seconds) if isinstance(seconds, int | float) else None
        except (UserError, OverflowError, RecursionError):
            gaps.append(f"The line of step {step} in metrics.jsonl is damaged and was left out.")
            continue
        earlier = records[kind, step].values if (kind, step) in records else {}
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        records[kind, step] = Record(step, seconds, kind, {**earlier, **finite})
    return tuple(sorted(records.values(), key=lambda record: (record.step, record.kind)))


def _lines_that_are_missing(
    found: Sequence[tuple[int, Mapping[str, Any] | None]], lines: int
) -> list[str]:
    """What somebody took out of metrics.jsonl, whose lines say their numbers, a sentence each."""
    told, expected = [], 1

    def missing_before(number: int) -> None:
        last = number - 1
        which = f"line {last} is" if expected == last else f"lines {expected} to {last} are"
        told.append(f"metrics.jsonl: {which} missing of those that the run wrote.")

    for place, value in found:
        number = expected if value is None else value.get("line", expected)
        if not isinstance(number, int) or number < expected:
            told.append(f"metrics.jsonl, line {place} stands there twice, or in another place.")
        elif number > expected:
            missing_before(number)
        expected = 1 + (number if isinstance(number, int) else expected)
    if expected <= lines:
        missing_before(lines + 1)
    return told


def _read_predictions(
    directory: epath.Path, results: Results, gaps: list[str]
) -> dict[str, Predictions]:
    found = {}
    for task in results.tasks:
        if task not in results.evaluated:
            gaps.append(
                f"results.json does not say what {task} is: it is in no table. Evaluate again "
                "(recalign eval)."
            )
        path = directory / f"{task}-{results.split}.jsonl"
        if not path.exists():
            gaps.append(f"No predictions/{path.name}: {task} has no intervals and no samples.")
            continue
        if other := agreement.other_evaluation(path, results.made_from):
            gaps.append(
                f"predictions/{path.name} are of another evaluation than results.json ({other}):"
                f" {task} has no intervals and no samples. Evaluate again (recalign eval)."
            )
            continue
        try:
            answers = results.evaluated.get(task, {}).get("answers")
            words = answers if isinstance(answers, list) else ()
            whole = (value for _, value in _numbered_lines(path, gaps) if value is not None)
            predictions = read_predictions(whole, words)
        except (KeyError, TypeError, ValueError, OverflowError, IndexError) as error:
            gaps.append(
                f"predictions/{path.name} is damaged ({error!r}): {task} has no intervals and no"
                " samples."
            )
            continue
        if predictions is not None:
            found[task] = predictions
    return found


def _read_origin(directory: epath.Path, gaps: list[str]) -> Mapping[str, Any]:
    """What run.json says; empty where there is none, or it is damaged."""
    try:
        found = origins.read(directory) or {}
        return found if dict(origins.flat(found)) else {}
    except RecursionError:
        gaps.append(f"{directory / origins.FILE}: nested too deep to be read.")
        return {}
    except UserError as error:
        gaps.append(f"{error}: nothing here can be compared with what the run was made from.")
        return {}


def _read_configuration(
    path: epath.Path, model: Mapping[str, Any], gaps: list[str]
) -> Configuration | None:
    if not path.exists():
        gaps.append("No config.gin: the run's model, seed and settings are not known.")
        return None
    try:
        return read_configuration(integrity.unsealed_text(path), model)
    except (UserError, RecursionError, MemoryError, ValueError, TypeError) as error:
        gaps.append(
            f"config.gin is damaged ({str(error).removeprefix(f'{path}: ')}): the run's model, seed"
            " and settings are not known."
        )
        return None


def _numbered_lines(
    path: epath.Path, gaps: list[str]
) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """(number from 1, object) of every line that is not blank; a damaged one (a run that was killed
    leaves one) becomes a gap."""
    with path.open("rb") as lines:
        need_digests = integrity.has_digests(lines)
        lines.seek(0)
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            value = integrity.record_of(line, need_digests)
            yield number, value
            if value is None:
                gaps.append(f"{path.name}, line {number} is damaged and was left out.")
