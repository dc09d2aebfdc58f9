"""Systems: what was measured, by which names tables call it, and which runs are its seeds."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Sequence

from recalign.report.run import Run

OPTIMUM = "optimum"
ZERO_SHOT = "zero_shot"
TIGER = "tiger"

_MIXTURES = {
    "reat": "ReAT",
    "raat": "RaAT",
    "rpat": "RpAT",
    "ut": "UT",
    "ut_at": "UT+AT",
    "ut_ie": "UT+IE",
    "p5": "P5",
    TIGER: "TIGER",
    ZERO_SHOT: "zero-shot",
    "retrieval_after": "retrieval+after",
    "retrieval_together": "retrieval+together",
    "retrieval_after_together": "retrieval+after+together",
    "reat_after": "ReAT+after",
    "retrieval_mlm": "retrieval+MLM",
    "ranking_mlm": "ranking+MLM",
    "ranking_mlm_mim": "ranking+MLM+MIM",
    "rating_mlm": "rating+MLM",
}
_BASELINES = {
    "popularity": "Popularity",
    "optimum": "Optimum",
    "history": "History",
    "graph": "Transition graph",
    "knn": "ItemKNN, tuned",
    "caser": "Caser",
    "hgn": "HGN",
    "gru4rec": "GRU4Rec",
    "bert4rec": "BERT4Rec",
    "fdsa": "FDSA",
    "sasrec": "SASRec",
    "s3rec": "S³-Rec",
    "itemknn": "ItemKNN",
    "bprmf": "BPR-MF",
    "bprmlp": "BPR-MLP",
    "simplex": "SimpleX",
    "dmf": "DMF",
    "widedeep": "Wide&Deep",
}
# What the paper compares its own kind with, though recalign trains it.
_NOT_OURS = ("p5", TIGER, ZERO_SHOT)


@dataclasses.dataclass(frozen=True)
class System:
    """What was measured: a mixture on a model, with a run a seed, or a baseline.

    Attributes:
      label: its name in tables.
      key: "reat/xl" where the paper's rows have such a model, "sasrec" for a baseline.
      is_ours: whether it is one of the paper's own kind ([Ours] in its tables).
      runs: those of a run's seeds; none for a baseline.
      draws: the draw of a planted corpus that each run was measured on; 0 of any other dataset.
    """

    label: str
    key: str
    is_ours: bool
    runs: tuple[Run, ...] = ()
    draws: tuple[int, ...] = ()

    @property
    def is_bound(self) -> bool:
        """Whether it is what no system can pass."""
        return self.key == OPTIMUM


def systems_of_runs(runs: Sequence[tuple[int, Run]], dataset: str) -> list[System]:
    """Groups runs that differ in their seed alone, in the order in which they were given.

    A run that was done again with the same seed is no other seed: it is a system of its own.

    Args:
      runs: each with its draw.
      dataset: the name of the dataset that all were measured on.
    """
    groups: dict[object, list[tuple[int, Run]]] = {}
    times: collections.Counter[object] = collections.Counter()
    for draw, run in runs:
        experiment = _identity(run)
        same = (experiment, draw, run.configuration and run.configuration.seed)
        times[same] += 1
        groups.setdefault((experiment, times[same]), []).append((draw, run))
    named = [(_label(group[0][1], dataset), group) for group in groups.values()]
    labels = [label for label, _ in named]
    return [
        System(
            label if labels.count(label) == 1 else f"{label} [{group[0][1].name}]",
            _key(group[0][1], dataset),
            _prefix(group[0][1], dataset) not in _NOT_OURS,
            tuple(run for _, run in group),
            tuple(draw for draw, _ in group),
        )
        for label, group in named
    ]


def baseline_system(name: str) -> System:
    """A baseline by the name that its results have."""
    key = re.sub(r"[^a-z0-9]", "", name.lower())
    return System(_BASELINES.get(key, name), key, is_ours=False)


def datasets_of(run: Run) -> list[str]:
    """The datasets that a run was evaluated on."""
    return run.results.dataset.split(",") if run.results else []


def belongs(task: str, run: Run, dataset: str) -> bool:
    """Whether a run's task is one of this dataset."""
    names = [name for name in datasets_of(run) if task.endswith(f"_{name}")]
    return max(names, key=len) == dataset if names else datasets_of(run) == [dataset]


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
