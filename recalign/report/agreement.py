"""Whether the files in a run's folder are of that run, by what each says it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from etils import epath

from recalign.data import integrity, origins
from recalign.errors import UserError

# Macros of config.gin that have another name in run.json.
_NAMES = {"mixture": "MIXTURE_OR_TASK_NAME", "seed": "RANDOM_SEED"}


def check_results(
    directory: epath.Path,
    made_from: Mapping[str, Any],
    step: int | None,
    before: Mapping[str, Any],
    gaps: list[str],
) -> None:
    """Compares results.json with run.json and with the checkpoint that it names.

    An evaluation may be of what the run never saw, or with other settings; that is a gap. Figures
    of other weights, or of another dataset of the same name, are not the run's. `made_from` and
    `step` are results.json's, `before` run.json's (empty where nothing is known); `gaps` gets a
    sentence on settings that differ. Results of another run are a UserError.
    """
    where = directory / "results.json"
    found = _differences(before, made_from)
    if refused := [it for it in found if it.rule == origins.REFUSED]:
        raise UserError(
            f"{where}: not of what {origins.FILE} says of the run: {origins.in_words(refused)}: "
            "evaluate again, with the --data_dir that holds what it was made from"
        )
    if told := [it for it in found if it.rule != origins.TOLD or it.name.startswith("decoding/")]:
        gaps.append(f"Evaluated otherwise than the run was trained: {origins.in_words(told)}.")
    written = _fingerprint(directory / "checkpoints" / str(step) / "info" / "metadata")
    measured = made_from.get("params")
    if None not in (written, measured) and written != measured:
        raise UserError(
            f"{where}: of other weights than checkpoints/{step}: it is another run's, or the run "
            "was trained anew: evaluate again"
        )


Checkpoints = Mapping[int, Mapping[str, Any]]
"""Of a run's folder: the step, and what the checkpoint says of itself."""


def saved_checkpoints(directory: epath.Path) -> Checkpoints:
    """Those of a folder, ascending; {} of one that says nothing: it may be gone, and a damaged one
    is its reader's affair."""
    folder = directory / "checkpoints"
    inside = folder.iterdir() if folder.is_dir() else ()
    found: dict[int, Mapping[str, Any]] = {}
    for step in sorted(int(it.name) for it in inside if it.name.isdecimal()):
        try:
            found[step] = integrity.read_sealed(folder / str(step) / "info" / "metadata")
        except UserError:
            found[step] = {}
    return found


def other_checkpoints(directory: epath.Path, saved: Checkpoints) -> str:
    """Which checkpoints another run saved than run.json is of; empty where none."""
    run = origins.read_file(directory).get(origins.RUN)
    marks = {step: info.get(origins.RUN) for step, info in saved.items()}
    return ", ".join(f"checkpoints/{it}" for it, mark in marks.items() if mark not in (None, run))


def other_settings(settings: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """How config.gin's macros differ from run.json; empty where they do not."""
    differ = []
    for part in ("mixture", "training", "settings", "model"):
        found = before.get(part)
        for name, value in (found if isinstance(found, dict) else {part: found}).items():
            macro = _NAMES.get(name, name.upper())
            if value is not None and macro in settings and origins.plain(settings[macro]) != value:
                differ.append(f"{macro} is {settings[macro]!r} there, {value!r} in {origins.FILE}")
    return "; ".join(differ[:3])


def other_evaluation(path: epath.Path, made_from: Mapping[str, Any]) -> str:
    """How what a predictions file was made from differs from results.json's; empty where not."""
    settings = path.with_name(f"{path.stem}.settings.json")
    if not made_from or not settings.exists():
        return ""
    try:
        made_with = integrity.read_sealed(settings)
        return origins.in_words(_differences(made_with.get("made_from") or {}, made_from))
    except UserError:
        return f"{settings.name} is damaged"


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[origins.Difference]:
    """Of what both name."""
    found = origins.differences(before, now)
    return [it for it in found if it.before is not None and it.now is not None]


def _fingerprint(path: epath.Path) -> str | None:
    """Of the parameters, as a checkpoint has it; None where it cannot be read: it may be gone."""
    try:
        found = integrity.read_json(path)["fingerprints"]["params"]
    except (UserError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None


def lines_of_log(saved: Checkpoints) -> int:
    """How many lines metrics.jsonl had when the newest checkpoint was saved; 0: none says so."""
    lines = list(saved.values())[-1].get("lines") if saved else None
    return lines if isinstance(lines, int) else 0
