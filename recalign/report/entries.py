"""Systems, and the lines that they are in tables: one task, one way of decoding, all seeds."""

from __future__ import annotations

import dataclasses
import re
import statistics
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64, Int64

from recalign.report.baselines import Baselines
from recalign.report.outcomes import Outcomes, Ranks, Scores, gains, metrics_of
from recalign.report.run import Metrics, Run

KINDS = ("retrieval", "ranking", "rating")
OPTIMUM = "optimum"
ZERO_SHOT = "zero_shot"

_MIXTURES = {
    "reat": "ReAT",
    "raat": "RaAT",
    "rpat": "RpAT",
    "ut": "UT",
    "ut_at": "UT+AT",
    "ut_ie": "UT+IE",
    "p5": "P5",
    ZERO_SHOT: "zero-shot",
    "retrieval_mlm": "retrieval+MLM",
    "ranking_mlm": "ranking+MLM",
    "ranking_mlm_mim": "ranking+MLM+MIM",
    "rating_mlm": "rating+MLM",
}
_BASELINES = {
    "popularity": "Popularity",
    "optimum": "Optimum",
    "history": "History",
    "caser": "Caser",
    "hgn": "HGN",
    "gru4rec": "GRU4Rec",
    "bert4rec": "BERT4Rec",
    "fdsa": "FDSA",
    "sasrec": "SASRec",
    "s3rec": "S³-Rec",
    "tiger": "TIGER",
    "itemknn": "ItemKNN",
    "bprmf": "BPR-MF",
    "bprmlp": "BPR-MLP",
    "simplex": "SimpleX",
    "dmf": "DMF",
    "widedeep": "Wide&Deep",
}
# Held-out templates of P5 are evaluated as one of recalign's own kinds; 5-5 has its own table.
_OWN_PROMPTS = (*KINDS, "p5_sequential", "p5_2_7", "p5_rating")
_P5_DIRECT = "p5_direct"


@dataclasses.dataclass(frozen=True)
class System:
    """What was measured: a mixture on a model, with a run a seed, or a baseline.

    Attributes:
      label: its name in tables.
      key: "reat/xl" where the paper's rows have such a model, "sasrec" for a baseline.
      is_ours: whether it is one of the paper's own kind ([Ours] in its tables).
      runs: those of a run's seeds; none for a baseline.
    """

    label: str
    key: str
    is_ours: bool
    runs: tuple[Run, ...] = ()

    @property
    def is_bound(self) -> bool:
        """Whether it is what no system can pass."""
        return self.key == OPTIMUM


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """A line of a table; one is equal to itself alone.

    Attributes:
      kind: "retrieval", "ranking" or "rating".
      prompt: the task's name without its dataset's.
      restricted: whether only the prompt's candidates could be decoded.
      values: of every metric, one a seed.
      outcomes: of every user, one a seed; none where they are not known.
      num_examples: how many users.
    """

    system: System
    kind: str
    prompt: str
    restricted: bool
    values: Mapping[str, tuple[float, ...]]
    outcomes: tuple[Outcomes, ...]
    num_examples: int | None

    @property
    def label(self) -> str:
        """The system, and what sets this line apart from its others."""
        prompt = "5-5" if self.prompt == _P5_DIRECT else self.prompt
        shown = "" if self.prompt in _OWN_PROMPTS else f" ({prompt})"
        return f"{self.system.label}{shown}{', within the pool' if self.restricted else ''}"

    @property
    def paper_key(self) -> str:
        """How the paper's tables name such a line, were it in them."""
        if self.prompt == _P5_DIRECT:
            return self.system.key.replace("p5/", "p5_direct/")
        return self.system.key

    @property
    def compares_with_paper(self) -> bool:
        """The paper reads the beams as they come."""
        return not self.restricted

    def mean(self, metric: str) -> float | None:
        """Over the seeds; None where it was not measured."""
        values = self.values.get(metric)
        return statistics.fmean(values) if values else None

    def spread(self, metric: str) -> float | None:
        """The sample standard deviation over the seeds; None of fewer than two."""
        values = self.values.get(metric, ())
        return statistics.stdev(values) if len(values) > 1 else None

    def rows(self) -> Int64[np.ndarray, " n"]:
        """The users whose outcomes are known in every seed, ascending; all where none are."""
        rows = [outcome.rows for outcome in self.outcomes]
        return _common(rows) if rows else np.zeros(0, np.int64)

    def gains(self, metric: str, rows: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """Each user's share in a metric of ranks, the mean over the seeds."""
        return np.mean(
            [gains(outcome.ranks[_places(outcome, rows)], metric) for outcome in self._ranks()],
            axis=0,
        )

    def scores(self, rows: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, "seeds n"]:
        """Each user's score, a line a seed."""
        return np.stack([outcome.scores[_places(outcome, rows)] for outcome in self._scores()])

    def labels(self, rows: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """Whether each user liked the item."""
        first = self._scores()[0]
        return first.labels[_places(first, rows)].astype(np.int64)

    def _ranks(self) -> list[Ranks]:
        return [outcome for outcome in self.outcomes if isinstance(outcome, Ranks)]

    def _scores(self) -> list[Scores]:
        return [outcome for outcome in self.outcomes if isinstance(outcome, Scores)]


def shared_rows(entries: Sequence[Entry]) -> Int64[np.ndarray, " n"]:
    """The users that every entry has outcomes of, ascending."""
    return _common([entry.rows() for entry in entries])


def _common(rows: Sequence[Int64[np.ndarray, " n"]]) -> Int64[np.ndarray, " n"]:
    common = rows[0]
    for other in rows[1:]:
        common = np.intersect1d(common, other, assume_unique=True)
    return common


def _places(outcome: Outcomes, rows: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    return np.searchsorted(outcome.rows, rows)


def kind_of(metrics: Metrics) -> str | None:
    """What a task is evaluated as, by its metrics; None: nothing that the tables have."""
    if "auc_roc" in metrics:
        return "rating"
    if "hr@1" in metrics:
        return "ranking"
    return "retrieval" if "hr@10" in metrics else None


def systems_of_runs(runs: Sequence[Run], dataset: str) -> list[System]:
    """Groups runs that differ in their seed alone, in the order in which they were given."""
    groups: dict[object, list[Run]] = {}
    for run in runs:
        groups.setdefault(_identity(run), []).append(run)
    named = [(_label(group[0], dataset), group) for group in groups.values()]
    labels = [label for label, _ in named]
    return [
        System(
            label if labels.count(label) == 1 else f"{label} [{group[0].name}]",
            _key(group[0], dataset),
            _prefix(group[0], dataset) not in ("p5", ZERO_SHOT),
            tuple(group),
        )
        for label, group in named
    ]


def entries_of_system(system: System, dataset: str) -> list[Entry]:
    """The lines of a mixture's runs."""
    assert system.runs[0].results is not None
    entries = []
    for task, metrics in system.runs[0].results.tasks.items():
        kind = kind_of(metrics)
        if kind is None or not belongs(task, system.runs[0], dataset):
            continue
        of_runs = [run for run in system.runs if run.results and task in run.results.tasks]
        for restricted in (False, True):
            suffix = "_candidates" if restricted else ""
            values = {
                metric: tuple(run.results.tasks[task][f"{metric}{suffix}"] for run in of_runs)  # type: ignore[union-attr]
                for metric in metrics_of(kind)
                if f"{metric}{suffix}" in metrics
            }
            if not values:
                continue
            decoding = "candidates" if restricted else ""
            outcomes = [
                run.predictions[task].outcomes[decoding]
                for run in of_runs
                if task in run.predictions and decoding in run.predictions[task].outcomes
            ]
            known = len(outcomes) == len(of_runs)
            entries.append(
                Entry(
                    system,
                    kind,
                    task.removesuffix(f"_{dataset}"),
                    restricted,
                    values,
                    tuple(outcomes) if known else (),
                    _count(metrics),
                )
            )
    return entries


def entries_of_baselines(
    tasks_of_systems: Mapping[str, Mapping[str, Metrics]], dataset: str, source: Baselines | None
) -> list[Entry]:
    """The lines of baselines, of a folder or as a run's results.json refers to them."""
    entries = []
    for name, tasks in tasks_of_systems.items():
        key = re.sub(r"[^a-z0-9]", "", name.lower())
        system = System(_BASELINES.get(key, name), key, is_ours=False)
        for task, metrics in tasks.items():
            kind = kind_of(metrics)
            if kind is None or not task.endswith(f"_{dataset}"):
                continue
            outcome = source.outcomes.get(name, {}).get(task) if source else None
            entries.append(
                Entry(
                    system,
                    kind,
                    task.removesuffix(f"_{dataset}"),
                    False,
                    {m: (metrics[m],) for m in metrics_of(kind) if m in metrics},
                    (outcome,) if outcome else (),
                    _count(metrics),
                )
            )
    return entries


def datasets_of(run: Run) -> list[str]:
    """The datasets that a run was evaluated on."""
    return run.results.dataset.split(",") if run.results else []


def belongs(task: str, run: Run, dataset: str) -> bool:
    """Whether a run's task is one of this dataset."""
    names = [name for name in datasets_of(run) if task.endswith(f"_{name}")]
    return max(names, key=len) == dataset if names else datasets_of(run) == [dataset]


def _count(metrics: Metrics) -> int | None:
    return int(metrics["num_examples"]) if "num_examples" in metrics else None


def _identity(run: Run) -> object:
    assert run.results is not None
    if run.configuration is None:
        return run.name
    results = run.results
    zero_shot = is_zero_shot(run)
    return (
        results.mixture,
        results.engine,
        results.split,
        zero_shot,
        run.configuration.without_seed(),
    )


def is_zero_shot(run: Run) -> bool:
    """Whether a pre-trained model was evaluated before any fine-tuning."""
    return (
        run.configuration is not None
        and run.results is not None
        and run.configuration.model.pretrained
        and run.results.checkpoint_step == run.configuration.first_step
    )


def _prefix(run: Run, dataset: str) -> str:
    assert run.results is not None
    return ZERO_SHOT if is_zero_shot(run) else run.results.mixture.removesuffix(f"_{dataset}")


def _label(run: Run, dataset: str) -> str:
    mixture = _MIXTURES.get(_prefix(run, dataset), _prefix(run, dataset))
    return mixture if run.configuration is None else f"{mixture}, {run.configuration.model.short}"


def _key(run: Run, dataset: str) -> str:
    model = run.configuration.model if run.configuration else None
    size = model.size if model and model.pretrained else ""
    return f"{_prefix(run, dataset)}/{size}"
