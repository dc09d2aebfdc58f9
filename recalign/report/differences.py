"""Which system is better, by how much, and how sure: paired bootstrap intervals over users."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

from recalign import metrics
from recalign.data.prepared import PreparedDataset
from recalign.report.bootstrap import Interval, percentiles, resampled_aucs, resampled_means
from recalign.report.corpora import Corpus
from recalign.report.entries import Entry, shared_rows
from recalign.report.outcomes import KINDS, draw_of, main_metric, metrics_of
from recalign.report.tables import MISSING, Cell, Table, key_of, metric_name, number, signed

_LEAK = (
    "Sequential IDs number the items in the order of the users' sequences, held-out items among"
    " them: what they add is a leak and no result."
)


@dataclasses.dataclass(frozen=True)
class Difference:
    """`first` less `second` in a metric."""

    first: Entry
    second: Entry
    metric: str
    figures: tuple[float, float]  # of both, over the users that both were measured on
    # Of each seed alone, where both have as many, on the same draws; else empty.
    of_seeds: tuple[float, ...]
    interval: Interval | None  # 95 %, None where the users' outcomes are not known of both
    # The difference in percent of `second`, as the paper's Δ; None where that is 0.
    percent: float | None
    percent_interval: Interval | None  # 95 %, of the ratio
    users: int  # how many both were measured on

    @property
    def value(self) -> float:
        return self.figures[0] - self.figures[1]


@functools.lru_cache(maxsize=4096)
def difference(first: Entry, second: Entry, metric: str) -> Difference | None:
    """The difference of two entries; None where a figure is missing.

    The mean over seeds is compared; its interval is that of the users, not of the seeds.
    """
    a, b = first.mean(metric), second.mean(metric)
    if a is None or b is None or np.isnan(a + b):
        return None
    rows = shared_rows([first, second])
    interval = percent_interval = None
    # What a metric of the user's own is for each user, nobody knows here.
    if len(rows) and metric in metrics_of(first.kind):
        a, b = _figure(first, metric, rows), _figure(second, metric, rows)
        resampled_a, resampled_b = _resampled(first, second, metric)
        interval = percentiles(resampled_a - resampled_b)
        if resampled_b.min() > 0:
            percent_interval = percentiles(100 * (resampled_a / resampled_b - 1))
    return Difference(
        first,
        second,
        metric,
        (a, b),
        _of_seeds(first, second, metric),
        interval,
        100 * (a / b - 1) if b > 0 else None,
        percent_interval,
        len(rows),
    )


def _of_seeds(first: Entry, second: Entry, metric: str) -> tuple[float, ...]:
    draws = [[draw_of(outcome) for outcome in entry.outcomes] for entry in (first, second)]
    if draws[0] != draws[1] or len(draws[0]) < 2:
        return ()
    return tuple(np.subtract(first.values[metric], second.values[metric]).tolist())


def _figure(entry: Entry, metric: str, rows: Int64[np.ndarray, " n"]) -> float:
    """The metric over these users, the mean over seeds."""
    if entry.kind == "rating":
        of_draws = entry.scores(rows)
        areas = [metrics.auc_roc(line, labels) for lines, labels in of_draws for line in lines]
        return float(np.mean(areas))
    return float(entry.gains(metric, rows).mean())


@functools.lru_cache(maxsize=4096)
def interval_of(entry: Entry, metric: str) -> Interval | None:
    """The 95 % interval of an entry's own figure over users."""
    rows = entry.rows()
    if not len(rows) or entry.mean(metric) is None or metric not in metrics_of(entry.kind):
        return None
    if entry.kind == "rating":
        return percentiles(_areas(entry, rows.tobytes()))
    return percentiles(resampled_means(entry.gains(metric, rows)[:, np.newaxis])[:, 0])


def _resampled(first: Entry, second: Entry, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Both entries' figures over the same users drawn anew."""
    rows = shared_rows([first, second])
    if first.kind == "rating":
        return _areas(first, rows.tobytes()), _areas(second, rows.tobytes())
    columns = np.stack([first.gains(metric, rows), second.gains(metric, rows)], axis=1)
    means = resampled_means(columns)
    return means[:, 0], means[:, 1]


@functools.lru_cache(maxsize=256)
def _areas(entry: Entry, rows: bytes) -> Float64[np.ndarray, " resamples"]:
    """An entry's areas, the mean over seeds; the same rows are drawn alike for every entry, those
    of each draw among themselves."""
    of_draws = entry.scores(np.frombuffer(rows, np.int64))
    areas = [
        resampled_aucs(scores, labels, seed=number)
        for number, (scores, labels) in enumerate(of_draws)
    ]
    return np.concatenate(areas).mean(axis=0)


def best(entries: Sequence[Entry], metric: str) -> Entry | None:
    known = [e for e in entries if (mean := e.mean(metric)) is not None and not np.isnan(mean)]
    return max(known, key=lambda entry: entry.mean(metric) or 0.0, default=None)


def ours(corpus: Corpus, kind: str) -> list[Entry]:
    """The entries that the paper would call [Ours]: models alone, joined with nothing."""
    return [e for e in corpus.of_kind(kind) if e.system.is_ours and not e.joined]


def others(corpus: Corpus, kind: str) -> list[Entry]:
    """The baselines: conventional ones, P5 and zero-shot models; not what nobody can pass."""
    return [
        entry
        for entry in corpus.of_kind(kind)
        if not entry.system.is_ours and not entry.system.is_bound and not entry.joined
    ]


def joined_with(corpus: Corpus, alone: Entry) -> list[Entry]:
    """The entries of the same model joined with a prior."""
    return [
        entry
        for entry in corpus.of_kind(alone.kind)
        if entry.joined and (entry.system, entry.prompt) == (alone.system, alone.prompt)
    ]


def claims(corpus: Corpus, kind: str) -> list[Difference]:
    """The differences that the report speaks of, for a kind of task.

    In every metric the best of ours against the best baseline, as the paper's Δ, every run
    against every other that decodes alike, and a model joined with a prior against itself alone and
    the best baseline; in the main metric every run against the best baseline.
    """
    mine, theirs = ours(corpus, kind), others(corpus, kind)
    main = main_metric(kind)
    pairs: dict[tuple[Entry, Entry, str], None] = {}

    def claim(first: Entry | None, second: Entry | None, metric: str) -> None:
        if first is not None and second is not None:
            pairs[first, second, metric] = None

    for metric in metrics_of(kind):
        claim(best(mine, metric), best(theirs, metric), metric)
        claim(
            best([e for e in mine if e.compares_with_paper], metric), best(theirs, metric), metric
        )
    for entry in mine:
        claim(entry, best(theirs, main), main)
        for joined in joined_with(corpus, entry):
            for metric in metrics_of(kind):
                claim(joined, entry, metric)
                claim(joined, best(theirs, metric), metric)
    for first, second in itertools.combinations(mine, 2):
        if first.decoding == second.decoding:
            for metric in metrics_of(kind):
                claim(first, second, metric)
    found = (difference(*pair) for pair in pairs)
    return [each for each in found if each is not None]


def differences_table(
    title: str, claimed: Sequence[Difference], notes: Sequence[str] = ()
) -> Table | None:
    """Differences as a table, "Differences: {title}"; None where there are none."""
    if not claimed:
        return None
    seeds = any(each.of_seeds for each in claimed)
    rows = []
    for each in claimed:
        interval = each.interval
        rows.append(
            (
                Cell(each.first.label),
                Cell(each.second.label),
                Cell(metric_name(each.metric)),
                *map(number, each.figures),
                Cell(signed(each.value, 4), each.value),
                Cell(span(interval, 4), interval.low if interval else None),
                Cell(verdict(interval) + _but(each)),
                Cell(signed(each.percent, 1), each.percent),
                *(
                    [Cell(", ".join(signed(d, 4) for d in each.of_seeds) or MISSING)]
                    if seeds
                    else []
                ),
                Cell(f"{each.users:,}" if each.users else MISSING, each.users),
            )
        )
    return Table(
        key=key_of("differences", title),
        title=f"Differences: {title}",
        columns=(
            "system", "against", "metric", "its figure", "the other's", "difference",
            "95 % interval", "verdict", "in percent", *(["by seed"] if seeds else []), "users",
        ),
        rows=tuple(rows),
        notes=tuple(notes),
    )  # fmt: skip


def _but(found: Difference) -> str:
    """What a clear interval over users does not say."""
    if found.interval is None or not found.interval.clear:
        return ""
    against = any(each * found.value <= 0 for each in found.of_seeds)
    return ", not in every seed" if against else ""


def span(interval: Interval | None, digits: int) -> str:
    """An interval as tables show it: [+0.0012, +0.0345]."""
    if interval is None or np.isnan(interval.low):
        return MISSING
    return f"[{signed(interval.low, digits)}, {signed(interval.high, digits)}]"


def verdict(interval: Interval | None) -> str:
    """What may be said of a difference."""
    if interval is None or np.isnan(interval.low):
        return "not known"
    if not interval.clear:
        return "not clear"
    return "higher" if interval.low > 0 else "lower"


# Item IDs -----------------------------------------------------------------------------------------


def tables_of_ids(corpora: Sequence[Corpus]) -> list[Table]:
    """What other IDs than random ones change, a table a pair of corpora and kind of task."""
    tables = []
    for random, other in itertools.permutations(corpora, 2):
        if random.item_ids != "random" or other.item_ids in ("", "random"):
            continue
        if not _same_log(random, other):
            continue
        for kind in KINDS:
            found = differences_table(
                f"{other.item_ids} against random IDs in {kind} on {random.label}",
                _differences_of_ids(random, other, kind),
                notes=(_LEAK,) if other.item_ids == "sequential" else (),
            )
            if found is not None:
                tables.append(found)
    return tables


def _differences_of_ids(random: Corpus, other: Corpus, kind: str) -> list[Difference]:
    pairs = itertools.product(other.of_kind(kind), random.of_kind(kind))
    found = (
        difference(
            _called(first, f"{first.system.label}, {other.item_ids} IDs"),
            _called(second, f"{random.item_ids} IDs"),
            metric,
        )
        for first, second in pairs
        if first.system.runs and _place_in_tables(first) == _place_in_tables(second)
        for metric in metrics_of(kind)
    )
    return [each for each in found if each is not None]


def _place_in_tables(entry: Entry) -> tuple[str, str, str]:
    return entry.system.key, entry.prompt, entry.decoding


def _called(entry: Entry, label: str) -> Entry:
    return dataclasses.replace(entry, system=dataclasses.replace(entry.system, label=label))


def _same_log(first: Corpus, second: Corpus) -> bool:
    """Whether the same users, in the same order, were asked for the same items in every draw."""
    draws = set(first.prepared) & set(second.prepared)
    if first.split != second.split or not draws:
        return False
    pairs = ((first.prepared[draw], second.prepared[draw]) for draw in draws)
    return all(_answers(one, first.split) == _answers(two, first.split) for one, two in pairs)


def _answers(dataset: PreparedDataset, split: str) -> list[tuple[int, str]]:
    """Every user's row and the log's own name of the item that is asked for."""
    sequences = dataset.sequences(split)
    last = sequences.items[sequences.row_splits[1:] - 1]
    names = np.array(dataset.catalogue.raw_ids)[last]
    return list(zip(sequences.rows.tolist(), names.tolist(), strict=True))
