"""The lines that systems are in tables: one task, one way of decoding, all seeds."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from recalign.report.baselines import Baselines
from recalign.report.outcomes import (
    DECODINGS,
    DRAW,
    FUSED,
    KINDS,
    Outcomes,
    draw_of,
    gains,
    in_draw,
    metrics_in,
    metrics_of,
)
from recalign.report.run import Metrics, Results
from recalign.report.systems import TIGER, System, baseline_system, belongs

_P5_DIRECT = "p5_direct"  # template 5-5, which has a table of its own
# Other wordings of our kinds of task. Baselines read no prompt: one measurement stands for each.
_WORDINGS = (TIGER, "p5_sequential", "p5_2_7", "p5_rating")
_WAYS = {"": "", "candidates": ", within the pool", "exact": ", by exact probability", FUSED: ""}


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """A line of a table; one is equal to itself alone.

    `outcomes` are of every user, one a seed; none where they are not known. Users of one draw of a
    planted corpus are apart from those of another (`outcomes.in_draw`).
    """

    system: System
    kind: str  # "retrieval", "ranking" or "rating"
    prompt: str  # the task's name without its dataset's
    decoding: str  # the way to the answers, of `outcomes.DECODINGS`
    values: Mapping[str, tuple[float, ...]]  # of every metric, one a seed
    outcomes: tuple[Outcomes, ...]
    num_examples: int | None  # how many users, of all draws
    joined: str = ""  # the label of the prior that the model was joined with

    @property
    def restricted(self) -> bool:
        """Whether only the prompt's candidates, or a rating's two words, could be answered."""
        return self.decoding not in ("", FUSED)

    @property
    def label(self) -> str:
        """The system, and what sets this line apart from its others."""
        prompt = "5-5" if self.prompt == _P5_DIRECT else self.prompt
        shown = "" if self.prompt in (*KINDS, *_WORDINGS) else f" ({prompt})"
        joined = f", joined with {self.joined}" if self.joined else ""
        return f"{self.system.label}{shown}{_WAYS[self.decoding]}{joined}"

    @property
    def paper_key(self) -> str:
        """How the paper's tables name such a line, were it in them."""
        if self.prompt == _P5_DIRECT:
            return self.system.key.replace("p5/", "p5_direct/")
        return self.system.key

    @property
    def compares_with_paper(self) -> bool:
        """The paper reads the beams as they come."""
        return not self.restricted and not self.joined

    def mean(self, metric: str) -> float | None:
        """Over the seeds; None where it was not measured."""
        values = self.values.get(metric)
        return statistics.fmean(values) if values else None

    def spread(self, metric: str) -> float | None:
        """The sample standard deviation over the seeds; None of fewer than two."""
        values = self.values.get(metric, ())
        return statistics.stdev(values) if len(values) > 1 else None

    def rows(self) -> Int64[np.ndarray, " n"]:
        """The users whose outcomes are known in every seed of their draw, ascending."""
        known = [_common([outcome.rows for outcome in seeds]) for seeds in _draws(self.outcomes)]
        return np.concatenate([np.zeros(0, np.int64), *known])

    def gains(self, metric: str, rows: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """The share in a metric of ranks of each of some users of `rows()`, the mean over seeds."""
        of_draws = [
            np.mean([gains(each.ranks[_places(each, rows)], metric) for each in seeds], axis=0)
            for seeds in _draws(self.outcomes)
        ]
        return np.concatenate(of_draws)

    def scores(
        self, rows: Int64[np.ndarray, " n"]
    ) -> list[tuple[Float64[np.ndarray, "seeds n"], Int64[np.ndarray, " n"]]]:
        """The scores of some users of `rows()`, a line a seed, and who liked the item; a pair a
        draw that any is of."""
        found = []
        for seeds in _draws(self.outcomes):
            if draw_of(seeds[0]) in rows // DRAW:
                labels = seeds[0].labels[_places(seeds[0], rows)].astype(np.int64)
                found.append((np.stack([it.scores[_places(it, rows)] for it in seeds]), labels))
        return found


def shared_rows(entries: Sequence[Entry]) -> Int64[np.ndarray, " n"]:
    """The users that every entry has outcomes of, ascending."""
    return _common([entry.rows() for entry in entries])


def _common(rows: Sequence[Int64[np.ndarray, " n"]]) -> Int64[np.ndarray, " n"]:
    return functools.reduce(functools.partial(np.intersect1d, assume_unique=True), rows)


def _draws(outcomes: Sequence[Outcomes]) -> list[list[Any]]:
    """The outcomes of each draw's users, one a seed, the draws ascending."""
    by_draw = itertools.groupby(sorted(outcomes, key=draw_of), key=draw_of)
    return [list(seeds) for _, seeds in by_draw]


def _places(outcome: Outcomes, rows: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " m"]:
    """Where those of `rows` that are of an outcome's draw stand in it."""
    return np.searchsorted(outcome.rows, rows[rows // DRAW == draw_of(outcome)])


def entries_of_system(system: System, dataset: str) -> list[Entry]:
    """The lines of a mixture's runs."""
    runs = zip(system.draws, system.runs, strict=True)
    evaluated = [(draw, run, run.results) for draw, run in runs if run.results]
    named = [t for _, run, results in evaluated for t in results.tasks if belongs(t, run, dataset)]
    entries = []
    for task in dict.fromkeys(named):
        asked = [each for each in evaluated if task in each[2].tasks]
        kind = asked[0][2].evaluated_as(task)
        if kind not in KINDS:
            continue
        measured = [results.tasks[task] for *_, results in asked]
        for decoding in DECODINGS:
            suffix = f"_{decoding}" if decoding else ""
            values = {
                metric: tuple(metrics[f"{metric}{suffix}"] for metrics in measured)
                for metric in metrics_in(kind, measured[0], decoding)
                if all(f"{metric}{suffix}" in metrics for metrics in measured)
            }
            if not values:
                continue
            outcomes = [
                in_draw(run.predictions[task].outcomes[decoding], draw)
                for draw, run, _ in asked
                if task in run.predictions and decoding in run.predictions[task].outcomes
            ]
            entries.append(
                Entry(
                    system,
                    kind,
                    task.removesuffix(f"_{dataset}"),
                    decoding,
                    values,
                    tuple(outcomes) if len(outcomes) == len(asked) else (),
                    _users({draw: results.tasks[task] for draw, _, results in asked}),
                    _prior(task, [results for *_, results in asked]) if decoding == FUSED else "",
                )
            )
    return entries


def _prior(task: str, results: Sequence[Results]) -> str:
    """The label of what a task's model was joined with."""
    names = [each.fusion.get(task, "a prior") for each in results]
    return " or ".join(baseline_system(name).label for name in dict.fromkeys(names))


def entries_of_baselines(
    tasks_of_systems: Mapping[str, Mapping[str, Metrics]],
    dataset: str,
    source: Baselines | None,
    kinds: Mapping[str, str],
    draw: int = 0,
) -> list[Entry]:
    """The lines of baselines, of a folder or as a run's results.json refers to them.

    `kinds` says what each task is evaluated as.
    """
    entries = []
    for name, tasks in tasks_of_systems.items():
        system = baseline_system(name)
        for task, metrics in tasks.items():
            kind = kinds.get(task, "")
            if kind not in KINDS or not task.endswith(f"_{dataset}"):
                continue
            outcome = source.outcomes.get(name, {}).get(task) if source else None
            prompt = task.removesuffix(f"_{dataset}")
            entries.append(
                Entry(
                    system,
                    kind,
                    kind if prompt in (*_WORDINGS, _P5_DIRECT) else prompt,
                    "",
                    {m: (metrics[m],) for m in metrics_of(kind) if m in metrics},
                    (in_draw(outcome, draw),) if outcome else (),
                    _users({draw: metrics}),
                )
            )
    return entries


def over_draws(entries: Sequence[Entry]) -> Entry:
    """One line of a baseline's lines on the draws of a planted corpus."""
    outcomes = tuple(outcome for entry in entries for outcome in entry.outcomes)
    return dataclasses.replace(
        entries[0],
        values={
            metric: tuple(value for entry in entries for value in entry.values[metric])
            for metric in entries[0].values
            if all(metric in entry.values for entry in entries)
        },
        outcomes=outcomes if all(entry.outcomes for entry in entries) else (),
        num_examples=sum(entry.num_examples or 0 for entry in entries) or None,
    )


def _users(of_draws: Mapping[int, Metrics]) -> int | None:
    """How many users there are, by the metrics of each draw."""
    counts = [metrics.get("num_examples", 0.0) for metrics in of_draws.values()]
    return int(np.nansum(counts)) or None
