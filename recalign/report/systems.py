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
    "reat": "ReAT", "raat": "RaAT", "rpat": "RpAT", "ut": "UT", "ut_at": "UT+AT",
    "ut_ie": "UT+IE", "p5": "P5", TIGER: "TIGER", ZERO_SHOT: "zero-shot",
    "retrieval_mlm": "retrieval+MLM", "ranking_mlm": "ranking+MLM",
    "ranking_mlm_mim": "ranking+MLM+MIM", "rating_mlm": "rating+MLM",
}  # fmt: skip
_BASELINES = {
    "popularity": "Popularity", "optimum": "Optimum", "history": "History",
    "graph": "Transition graph", "knn": "ItemKNN, tuned", "caser": "Caser", "hgn": "HGN",
    "gru4rec": "GRU4Rec", "bert4rec": "BERT4Rec", "fdsa": "FDSA", "sasrec": "SASRec",
    "s3rec": "S³-Rec", "itemknn": "ItemKNN", "bprmf": "BPR-MF", "bprmlp": "BPR-MLP",
    "simplex": "SimpleX", "dmf": "DMF", "widedeep": "Wide&Deep",
}  # fmt: skip
# What the paper compares its own kind with, though recalign trains it.
_NOT_OURS = ("p5", TIGER, ZERO_SHOT)


@dataclasses.dataclass(frozen=True)
class System:
    """What was measured: a mixture on a model, with a run a seed, or a baseline."""

    label: str  # its name in tables
    key: str  # "reat/xl" where the paper's rows have such a model, "sasrec" for a baseline
    is_ours: bool  # whether it is one of the paper's own kind ([Ours] in its tables)
    runs: tuple[Run, ...] = ()  # those of a run's seeds; none for a baseline
    # The draw of a planted corpus that each run was measured on; 0 of any other dataset.
    draws: tuple[int, ...] = ()

    @property
    def is_bound(self) -> bool:
        return self.key == OPTIMUM


def systems_of_runs(runs: Sequence[tuple[int, Run]], dataset: str) -> list[System]:
    """Groups a dataset's runs, each with its draw, that differ in their seed alone, in their order.

    A run that was done again with the same seed is no other seed: it is a system of its own.
    """
    groups: dict[object, list[tuple[int, Run]]] = {}
    times: collections.Counter[object] = collections.Counter()
    for draw, run in runs:
        experiment = _identity(run)
        same = (experiment, draw, run.configuration and run.configuration.seed)
        times[same] += 1
        groups.setdefault((experiment, times[same]), []).append((draw, run))
    labels = collections.Counter(_label(group[0][1], dataset) for group in groups.values())
    systems = []
    for group in groups.values():
        draws, seeds = zip(*group, strict=True)
        first, label = seeds[0], _label(seeds[0], dataset)
        label = label if labels[label] == 1 else f"{label} [{first.name}]"
        ours = _prefix(first, dataset) not in _NOT_OURS
        systems.append(System(label, _key(first, dataset), ours, seeds, draws))
    return systems


def baseline_system(name: str) -> System:
    key = re.sub(r"[^a-z0-9]", "", name.lower())
    return System(_BASELINES.get(key, name), key, is_ours=False)


def datasets_of(run: Run) -> list[str]:
    return run.results.dataset.split(",") if run.results else []


def belongs(task: str, run: Run, dataset: str) -> bool:
    names = [name for name in datasets_of(run) if task.endswith(f"_{name}")]
    return max(names, key=len) == dataset if names else datasets_of(run) == [dataset]


def _identity(run: Run) -> object:
    assert run.results is not None
    if run.configuration is None:
        return run.name
    results, settings = run.results, run.configuration.without_seed()
    return results.mixture, results.engine, results.split, is_zero_shot(run), settings


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
    prefix = _prefix(run, dataset)
    mixture = _MIXTURES.get(prefix, prefix)
    return mixture if run.configuration is None else f"{mixture}, {run.configuration.model.short}"


def _key(run: Run, dataset: str) -> str:
    model = run.configuration.model if run.configuration else None
    size = model.size if model and model.pretrained else ""
    return f"{_prefix(run, dataset)}/{size}"
