"""The datasets of a report: which runs and baselines were measured on the same users.

Planted corpora that one law generated from different seeds are draws of one corpus: other users,
but the same question, so that a system's runs on them are its seeds.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence

import numpy as np
from etils import epath

from recalign.data import DEFAULT_DATA_DIR, origins
from recalign.data.prepared import INFO_FILE, PreparedDataset, dataset_path, open_dataset
from recalign.report.baselines import Baselines
from recalign.report.entries import Entry, entries_of_baselines, entries_of_system, over_draws
from recalign.report.outcomes import measure, metrics_of
from recalign.report.predictions import Predictions
from recalign.report.run import Run
from recalign.report.systems import System, belongs, datasets_of, systems_of_runs

# A metric computed again from the predictions differs from results.json by rounding alone.
_TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A dataset and split with everything that was measured on it."""

    label: str  # the dataset's name, and its split or a number where another has the same
    name: str  # the dataset's name
    split: str  # what was evaluated
    systems: tuple[System, ...]  # of runs, in the order in which they were given
    entries: tuple[Entry, ...]  # the lines of every table, runs' first
    # The dataset where it is at hand, of each draw; what is no planted corpus is draw 0.
    prepared: Mapping[int, PreparedDataset]
    gaps: tuple[str, ...]  # what could not be shown or does not agree, a sentence each

    def of_kind(self, kind: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.kind == kind]

    @property
    def item_ids(self) -> str:
        """How the items are numbered; "" where the dataset is not at hand."""
        return next((d.info.get("item_ids", "") for d in self.prepared.values()), "")


@dataclasses.dataclass
class _Users:
    """A split's users and the runs that were measured on them."""

    name: str
    split: str
    prepared: PreparedDataset | None
    runs: list[Run]
    other: str = ""  # how the dataset at hand is not the runs', a sentence

    @property
    def law(self) -> str:
        """What a planted corpus was drawn from; "" of any other dataset."""
        info = self.prepared.info if self.prepared else {}
        sources = info.get("sources") or []
        if not any(isinstance(source, dict) and "synthetic" in source for source in sources):
            return ""
        return json.dumps([self.name, self.split, sources, info.get("item_ids")], sort_keys=True)

    @property
    def draw(self) -> int:
        """The seed that a planted corpus was drawn with; 0 of any other dataset."""
        return int(self.prepared.info["seed"]) if self.prepared and self.law else 0


def gather(
    runs: Sequence[Run], baselines: Sequence[Baselines], data_dir: epath.PathLike | None = None
) -> list[Corpus]:
    """Sorts runs and baselines by what they were measured on.

    Runs whose datasets have one name but which ask for other answers are kept apart, as their users
    are not the same, unless they are draws of one planted corpus. Prepared datasets lie in
    `data_dir`; None: where each run's config.gin says.
    """
    found = _together(_users_of(runs, baselines, data_dir))
    places = [next(iter(draws.values())) for draws in found]
    splits = collections.defaultdict(set)
    for users in places:
        splits[users.name].add(users.split)
    corpora: list[Corpus] = []
    for draws, users in zip(found, places, strict=True):
        label = users.name if len(splits[users.name]) == 1 else f"{users.name}, {users.split}"
        alike = [u for u in places if (u.name, u.split) == (users.name, users.split)]
        gaps = []
        if len(alike) > 1:
            number = 1 + [id(u) for u in alike].index(id(users))
            label = f"{label} {number}"
            names = ", ".join(run.name for each in draws.values() for run in each.runs)
            gaps.append(
                f"Runs of {users.name} were measured on {len(alike)} different sets of users"
                f" or IDs; this is number {number}: {names}."
            )
        beside = [b for b in baselines if (b.dataset, b.split) == (users.name, users.split)]
        corpora.append(_corpus(label, draws, beside, gaps))
    return corpora


def _users_of(
    runs: Sequence[Run], baselines: Sequence[Baselines], data_dir: epath.PathLike | None
) -> list[_Users]:
    """Every set of users that anything was measured on."""
    sets: list[_Users] = []
    for run in runs:
        for name in datasets_of(run):
            assert run.results is not None
            split = run.results.split
            prepared, other = _prepared(name, split, run, data_dir)
            alike = [users for users in sets if (users.name, users.split) == (name, split)]
            same = next((users for users in alike if _same(users, run, prepared)), None)
            if same is None:
                sets.append(_Users(name, split, prepared, [run], other))
            else:
                same.runs.append(run)
                same.prepared = same.prepared or prepared
    for folder in baselines:
        name, split = folder.dataset, folder.split
        if not any((users.name, users.split) == (name, split) for users in sets):
            sets.append(_Users(name, split, _prepared(name, split, None, data_dir)[0], []))
    return sets


def _together(sets: Sequence[_Users]) -> list[dict[int, _Users]]:
    """The draws of each corpus, ascending."""
    corpora: list[dict[int, _Users]] = []
    for users in sets:
        for draws in corpora:
            laws = {other.law for other in draws.values()}
            if users.law and laws == {users.law} and users.draw not in draws:
                draws[users.draw] = users
                break
        else:
            corpora.append({users.draw: users})
    return [dict(sorted(draws.items())) for draws in corpora]


def _corpus(
    label: str, draws: Mapping[int, _Users], baselines: Sequence[Baselines], gaps: list[str]
) -> Corpus:
    first = next(iter(draws.values()))
    runs = [(draw, run) for draw, users in draws.items() for run in users.runs]
    systems = systems_of_runs(runs, first.name)
    entries = [entry for system in systems for entry in entries_of_system(system, first.name)]
    measured: dict[tuple[str, str], list[Entry]] = {}
    for draw, users in draws.items():
        for entry in _baselines_of(users, draw, baselines):
            measured.setdefault((entry.system.key, entry.prompt), []).append(entry)
    entries += [over_draws(of_draws) for of_draws in measured.values()]
    if not all(users.prepared for users in draws.values()):
        gaps.append(
            f"The prepared dataset {first.name} is not at hand, or is not the one that was"
            " evaluated (--data_dir): there are no figures by history length or popularity, no"
            " check of the beams against the catalogue, and no Tables 7 and 10."
            + "".join(f" {users.other}" for users in draws.values() if users.other)
        )
    for folder in baselines:
        fits = functools.partial(_fits, folder)
        if strange := [m for m in folder.metrics if not any(fits(m, it) for it in draws.values())]:
            gaps.append(
                f"What {folder.name} has of {', '.join(strange)} was measured on another"
                f" preparation of {first.name} and is left out."
            )
    prepared = {draw: users.prepared for draw, users in draws.items() if users.prepared}
    gaps += _disagreements(entries)
    measured_here = (tuple(systems), tuple(entries))
    return Corpus(label, first.name, first.split, *measured_here, prepared, tuple(gaps))


def _baselines_of(users: _Users, draw: int, baselines: Sequence[Baselines]) -> list[Entry]:
    """The baselines' lines on a draw. The same one may stand in a folder and in every run's
    results.json: the first counts."""
    measured: list[Entry] = []
    for folder in baselines:
        fitting = {m: tasks for m, tasks in folder.metrics.items() if _fits(folder, m, users)}
        measured += entries_of_baselines(fitting, users.name, folder, folder.kinds, draw)
    for run in users.runs:
        assert run.results is not None
        kinds = {task: run.results.evaluated_as(task) for task in run.results.evaluated}
        measured += entries_of_baselines(run.results.references, users.name, None, kinds, draw)
    distinct: dict[tuple[str, str], Entry] = {}
    for entry in measured:
        distinct.setdefault((entry.system.key, entry.prompt), entry)
    return list(distinct.values())


def _fits(folder: Baselines, model: str, users: _Users) -> bool:
    """Whether a model was measured on these users, as far as is known."""
    known = users.prepared.info.get("fingerprint", "") if users.prepared else ""
    return not known or folder.fingerprint(model) in ("", known)


def _disagreements(entries: Sequence[Entry]) -> list[str]:
    """Where the users' outcomes do not give the figure that results.json has."""
    gaps = []
    for entry in entries:
        for metric in metrics_of(entry.kind):
            for value, outcome in zip(entry.values.get(metric, ()), entry.outcomes, strict=False):
                again = measure(outcome, metric)
                if not np.isclose(again, value, rtol=0, atol=_TOLERANCE, equal_nan=True):
                    gaps.append(
                        f"{entry.label}: {metric} is {value:.4f} in results.json but"
                        f" {again:.4f} by its predictions; they are of two evaluations."
                    )
    return gaps


def item_predictions(run: Run, dataset: str) -> list[Predictions]:
    """A run's predictions whose answers are items of the dataset."""
    assert run.results is not None
    return [
        predictions
        for task, predictions in run.predictions.items()
        if belongs(task, run, dataset)
        and run.results.evaluated_as(task) in ("retrieval", "ranking")
    ]


def _same(users: _Users, run: Run, prepared: PreparedDataset | None) -> bool:
    """Whether a run's users are these: by their answers or, where it names none, its dataset."""
    known = [p for other in users.runs for p in item_predictions(other, users.name)]
    asked = item_predictions(run, users.name)
    if known and asked:
        answers = _asked(known[0])
        return all(answers.get(row, it) == it for row, it in _asked(asked[0]).items())
    if users.prepared and prepared:
        return users.prepared.info.get("fingerprint") == prepared.info.get("fingerprint")
    return True


def _prepared(
    name: str, split: str, run: Run | None, data_dir: epath.PathLike | None
) -> tuple[PreparedDataset | None, str]:
    """The dataset that a run was evaluated on, where it is at hand; or how the one that is there
    differs, a sentence."""
    of_run = run.configuration.data_dir if run and run.configuration else None
    if data_dir is None and of_run and "://" in of_run:
        return None, ""  # nothing is fetched because a run's folder says so
    place = data_dir or of_run or DEFAULT_DATA_DIR
    if not (dataset_path(name, place) / INFO_FILE).exists():
        return None, ""
    dataset = open_dataset(name, place)
    known = run.results.fingerprints.get(name) if run and run.results else None
    if known not in (None, dataset.fingerprint):
        found = origins.Difference(f"datasets/{name}", known, dataset.fingerprint)
        return None, f"In {dataset.directory}, {found}."
    if run and known is None and not _answers_agree(dataset, split, run):
        return None, ""
    return dataset, ""


def _answers_agree(dataset: PreparedDataset, split: str, run: Run) -> bool:
    sequences, ids = dataset.sequences(split), dataset.catalogue.ids
    last = sequences.items[sequences.row_splits[1:] - 1]
    answers = dict(zip(sequences.rows.tolist(), (ids[item] for item in last), strict=True))
    asked = (_asked(predictions).items() for predictions in item_predictions(run, dataset.name))
    return all(answers.get(row) == target for of_task in asked for row, target in of_task)


def _asked(predictions: Predictions) -> dict[int, str]:
    return dict(zip(predictions.rows.tolist(), predictions.targets, strict=True))
