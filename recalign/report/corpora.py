"""The datasets of a report: which runs and baselines were measured on the same users."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from etils import epath

from recalign.data.prepared import INFO_FILE, PreparedDataset, dataset_path, open_dataset
from recalign.report.baselines import Baselines
from recalign.report.entries import (
    Entry,
    System,
    belongs,
    datasets_of,
    entries_of_baselines,
    entries_of_system,
    systems_of_runs,
)
from recalign.report.outcomes import Ranks, measure
from recalign.report.predictions import Predictions
from recalign.report.run import Run

_DEFAULT_DATA_DIR = "data"
# A metric computed again from the predictions differs from results.json by rounding alone.
_TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A dataset and split with everything that was measured on it.

    Attributes:
      label: the dataset's name, with a number where two sets of users have the same.
      name: the dataset's name.
      split: what was evaluated.
      systems: of runs, in the order in which they were given.
      entries: the lines of every table, runs' first.
      prepared: the dataset, where it is at hand.
      gaps: what could not be shown or does not agree, a sentence each.
    """

    label: str
    name: str
    split: str
    systems: tuple[System, ...]
    entries: tuple[Entry, ...]
    prepared: PreparedDataset | None
    gaps: tuple[str, ...]

    def of_kind(self, kind: str) -> list[Entry]:
        """The lines of a kind of task."""
        return [entry for entry in self.entries if entry.kind == kind]


def gather(
    runs: Sequence[Run], baselines: Sequence[Baselines], data_dir: epath.PathLike | None = None
) -> list[Corpus]:
    """Sorts runs and baselines by what they were measured on.

    Runs whose datasets have one name but which ask for other answers are kept apart: their users
    are not the same.

    Args:
      data_dir: where prepared datasets lie; None: where each run's config.gin says.
    """
    groups: dict[tuple[str, str], list[list[Run]]] = {}
    for run in runs:
        for name in datasets_of(run):
            assert run.results is not None
            alike = groups.setdefault((name, run.results.split), [])
            place = next((group for group in alike if _same_users(group[0], run, name)), None)
            if place is None:
                alike.append([run])
            else:
                place.append(run)
    for folder in baselines:
        groups.setdefault((folder.dataset, folder.split), [[]])
    corpora = []
    for (name, split), alike in groups.items():
        for number, group in enumerate(alike, start=1):
            label = name if len(alike) == 1 else f"{name} {number}"
            beside = [b for b in baselines if (b.dataset, b.split) == (name, split)]
            corpora.append(_corpus(label, name, split, group, beside, data_dir))
            if len(alike) > 1:
                gap = (
                    f"Runs of {name} were measured on {len(alike)} different sets of users"
                    f" or IDs; this is number {number}: {', '.join(run.name for run in group)}."
                )
                corpora[-1] = dataclasses.replace(corpora[-1], gaps=(gap, *corpora[-1].gaps))
    return corpora


def _corpus(
    label: str,
    name: str,
    split: str,
    runs: Sequence[Run],
    baselines: Sequence[Baselines],
    data_dir: epath.PathLike | None,
) -> Corpus:
    systems = systems_of_runs(runs, name)
    entries = [entry for system in systems for entry in entries_of_system(system, name)]
    prepared, gaps = _prepared(name, split, runs, data_dir)
    measured: list[Entry] = []
    for folder in baselines:
        known = prepared.info.get("fingerprint", "") if prepared else ""
        if known and folder.fingerprint and known != folder.fingerprint:
            gaps.append(
                f"The baselines in {folder.name} were measured on another preparation of {name}"
                " and are left out."
            )
        else:
            measured += entries_of_baselines(folder.metrics, name, folder)
    for run in runs:
        assert run.results is not None
        measured += entries_of_baselines(run.results.references, name, None)
    # The same baseline may stand in a folder and in every run's results.json: the first counts.
    distinct: dict[tuple[str, str], Entry] = {}
    for entry in measured:
        distinct.setdefault((entry.system.key, entry.prompt), entry)
    entries += distinct.values()
    return Corpus(
        label,
        name,
        split,
        tuple(systems),
        tuple(entries),
        prepared,
        (*gaps, *_disagreements(entries)),
    )


def _disagreements(entries: Sequence[Entry]) -> list[str]:
    """Where the users' outcomes do not give the figure that results.json has."""
    gaps = []
    for entry in entries:
        for metric, values in entry.values.items():
            for value, outcome in zip(values, entry.outcomes, strict=False):
                again = measure(outcome, metric)
                if not np.isclose(again, value, rtol=0, atol=_TOLERANCE, equal_nan=True):
                    gaps.append(
                        f"{entry.label}: {metric} is {value:.4f} in results.json but"
                        f" {again:.4f} by its predictions; they are of two evaluations."
                    )
    return gaps


def item_predictions(run: Run, dataset: str) -> list[Predictions]:
    """A run's predictions whose answers are items of the dataset."""
    return [
        predictions
        for task, predictions in run.predictions.items()
        if belongs(task, run, dataset) and isinstance(predictions.outcomes[""], Ranks)
    ]


def _same_users(run: Run, other: Run, dataset: str) -> bool:
    """Whether the answers that both ask for are the same, user by user."""
    mine, theirs = item_predictions(run, dataset), item_predictions(other, dataset)
    if not mine or not theirs:
        return True
    answers = dict(zip(mine[0].rows.tolist(), mine[0].targets, strict=True))
    return all(
        answers.get(row, target) == target
        for row, target in zip(theirs[0].rows.tolist(), theirs[0].targets, strict=True)
    )


def _prepared(
    name: str, split: str, runs: Sequence[Run], data_dir: epath.PathLike | None
) -> tuple[PreparedDataset | None, list[str]]:
    places = [data_dir] if data_dir else []
    if not data_dir:
        places = [run.configuration.data_dir for run in runs if run.configuration]
        places = [place for place in places if place] or [_DEFAULT_DATA_DIR]
    for place in dict.fromkeys(places):
        if not (dataset_path(name, place) / INFO_FILE).exists():
            continue
        dataset = open_dataset(name, place)
        if all(_answers_agree(dataset, split, run) for run in runs):
            return dataset, []
    return None, [
        f"The prepared dataset {name} is not at hand, or is not the one that was evaluated"
        " (--data_dir): there are no figures by history length or popularity, no check of the"
        " beams against the catalogue, and no Tables 7 and 10."
    ]


def _answers_agree(dataset: PreparedDataset, split: str, run: Run) -> bool:
    sequences = dataset.sequences(split)
    ids = dataset.catalogue.ids
    last = sequences.items[sequences.row_splits[1:] - 1]
    for predictions in item_predictions(run, dataset.name):
        places = np.searchsorted(sequences.rows, predictions.rows)
        if places.max(initial=0) >= len(last):
            return False
        if not np.array_equal(sequences.rows[places], predictions.rows):
            return False
        if any(ids[i] != t for i, t in zip(last[places], predictions.targets, strict=True)):
            return False
    return True
