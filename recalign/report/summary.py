"""What a stranger reads first: what was run, on what, the headline figures, and how sure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from recalign.report import paper
from recalign.report.bootstrap import Interval
from recalign.report.comparison import share_of_optimum
from recalign.report.corpora import Corpus
from recalign.report.differences import (
    best,
    difference,
    interval_of,
    joined_with,
    others,
    ours,
    span,
    verdict,
)
from recalign.report.entries import Entry
from recalign.report.outcomes import KINDS, main_metric
from recalign.report.tables import bracketed, figure, metric_name, percent, signed


@dataclasses.dataclass(frozen=True)
class Headline:
    """The best of ours at a kind of task, beside the best baseline."""

    task: str  # "retrieval on demo, HR@10"
    system: str  # whose figure it is
    value: float  # the figure, and `interval` its 95 % interval over users
    interval: Interval | None
    beside: tuple[str, ...]  # sentences about the best baseline, the optimum and the seeds
    # What else stands on the scale from 0 to 1, (name, figure).
    marks: tuple[tuple[str, float], ...]

    def sentence(self) -> str:
        """All of it in a line, for formats without cards."""
        sure = "" if self.interval is None else f" {bracketed(self.interval)}"
        said = f"{self.task}: {self.system}, {figure(self.value)}{sure}."
        return " ".join([said[0].upper() + said[1:], *self.beside])


def headlines(corpora: Sequence[Corpus]) -> list[Headline]:
    """A headline a dataset and kind of task, of ours where there are any, else of what was run."""
    found = []
    for corpus in corpora:
        if corpus.item_ids == "sequential":
            continue  # What a leak gives is no headline.
        for kind in KINDS:
            metric = main_metric(kind)
            run = [it for it in corpus.of_kind(kind) if it.system.runs and not it.joined]
            entry = best(ours(corpus, kind) or run, metric)
            if entry is not None:
                found.append(_headline(corpus, entry, metric))
    return found


def _headline(corpus: Corpus, entry: Entry, metric: str) -> Headline:
    value = entry.mean(metric)
    assert value is not None
    beside, marks = [], []
    seeds = len(entry.values[metric])
    if seeds > 1:
        beside.append(f"Mean of {seeds} seeds, ± {figure(entry.spread(metric))}.")
    rival = best([e for e in others(corpus, entry.kind) if e.system != entry.system], metric)
    if rival is not None:
        beside.append(_against(entry, rival, metric))
        marks.append((rival.label, rival.mean(metric) or 0.0))
    joined = best(joined_with(corpus, entry), metric)
    if joined is not None:
        beside.append(_joined(entry, joined, metric))
        marks.append((f"with {joined.joined}", joined.mean(metric) or 0.0))
    bound = best([e for e in corpus.of_kind(entry.kind) if e.system.is_bound], metric)
    if bound is not None:
        share = share_of_optimum(metric, value, bound.mean(metric))
        beside.append(f"{percent(share)} of the optimum, {figure(bound.mean(metric))}.")
        marks.append((bound.label, bound.mean(metric) or 0.0))
    return Headline(
        task=f"{entry.kind} on {corpus.label}, {metric_name(metric)}",
        system=entry.label,
        value=value,
        interval=interval_of(entry, metric),
        beside=tuple(beside),
        marks=tuple(marks),
    )


def _against(entry: Entry, rival: Entry, metric: str) -> str:
    found = difference(entry, rival, metric)
    named = f"Best baseline: {rival.label}, {figure(rival.mean(metric))}"
    if found is None:
        return f"{named}."
    if found.interval is None:
        return f"{named}; how sure the difference of {signed(found.value, 4)} is, is not known."
    sure = {"higher": "clearly above it", "lower": "clearly below it"}
    said = sure.get(verdict(found.interval), "not clearly apart")
    both = f" over the {found.users:,} users of both" if found.users < _most(entry, rival) else ""
    return f"{named}; {signed(found.value, 4)}{both} {span(found.interval, 4)}, {said}."


def _joined(entry: Entry, joined: Entry, metric: str) -> str:
    found = difference(joined, entry, metric)
    named = f"Joined with {joined.joined}: {figure(joined.mean(metric))}"
    if found is None or found.interval is None:
        return f"{named}."
    return f"{named}, {signed(found.value, 4)} {span(found.interval, 4)}."


def _most(*entries: Entry) -> int:
    return max(entry.num_examples or 0 for entry in entries)


def title(corpora: Sequence[Corpus], run_names: Sequence[str]) -> str:
    systems = list(dict.fromkeys(s.label for corpus in corpora for s in corpus.systems))
    if not systems:
        systems = list(dict.fromkeys(e.label for corpus in corpora for e in corpus.entries))
    if not corpora:
        return f"{_listed(list(run_names))}: not evaluated yet"
    where = _listed([paper.DATASETS.get(corpus.label, corpus.label) for corpus in corpora])
    what = _listed(systems) if 0 < len(systems) <= 3 else f"{len(systems)} systems"
    return f"{what} on {where}"


def lead(corpora: Sequence[Corpus]) -> list[str]:
    """Sentences on what was run, a dataset each."""
    sentences = []
    for corpus in corpora:
        users = max((entry.num_examples or 0 for entry in corpus.entries), default=0)
        baselines = {e.system.label for e in corpus.entries if not e.system.runs}
        runs = [run for system in corpus.systems for run in system.runs]
        parts = [f"{corpus.label}, {corpus.split} split, {users:,} users"]
        if len(corpus.prepared) > 1:
            parts[0] += f" of {len(corpus.prepared)} draws of the corpus"
        if corpus.item_ids == "sequential":
            parts[0] += ", sequential IDs, which give answers away"
        if runs:
            what = "; ".join(_described(system.label, system.runs) for system in corpus.systems)
            parts.append(f"{len(runs)} run{'s' if len(runs) > 1 else ''} ({what})")
        if baselines:
            parts.append(f"beside {_listed(sorted(baselines))}")
        sentences.append(f"{': '.join(parts[:2])}{', ' + parts[2] if parts[2:] else ''}.")
    return sentences


def _described(label: str, runs: Sequence) -> str:
    configuration = runs[0].configuration
    model = f": {configuration.model.label}" if configuration else ""
    seeds = f", {len(runs)} seeds" if len(runs) > 1 else ""
    return f"{label}{model}{seeds}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
