"""Where a system is right: by length of history, popularity of the item, place in the pool."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

from recalign.report.bootstrap import Interval, percentiles, resampled_means
from recalign.report.corpora import Corpus
from recalign.report.entries import Entry
from recalign.report.outcomes import main_metric

_BINS = 5


@dataclasses.dataclass(frozen=True)
class Bin:
    """Users whose value is from `low` to `high`, both included."""

    low: int
    high: int
    users: int

    @property
    def label(self) -> str:
        return f"{self.low:,}" if self.low == self.high else f"{self.low:,}–{self.high:,}"


@dataclasses.dataclass(frozen=True)
class Slices:
    """The main metric of entries over bins of users.

    Attributes:
      title: what the bins are of, such as "items in the history".
      metric: "hr@10" or "hr@1".
      bins: ascending.
      figures: a line an entry, a figure and its 95 % interval over users a bin.
    """

    title: str
    metric: str
    bins: tuple[Bin, ...]
    figures: tuple[tuple[Entry, tuple[tuple[float, Interval], ...]], ...]


def bins_of(values: Int64[np.ndarray, " n"], most: int = _BINS) -> list[Bin]:
    """Bins of about as many users each; equal values are never parted, so there may be fewer.

    >>> [b.label for b in bins_of(np.array([1, 1, 1, 1, 2, 3, 4, 5]), most=3)]
    ['1', '2–3', '4–5']
    """
    distinct, counts = np.unique(values, return_counts=True)
    middles = np.cumsum(counts) - counts / 2
    number = np.minimum((middles * most / counts.sum()).astype(int), most - 1)
    return [
        Bin(
            int(distinct[number == bin].min()),
            int(distinct[number == bin].max()),
            int(counts[number == bin].sum()),
        )
        for bin in np.unique(number)
    ]


def by_history(corpus: Corpus, entries: Sequence[Entry]) -> Slices | None:
    """By the number of items that the user had before; None without the dataset."""
    if corpus.prepared is None:
        return None
    sequences = corpus.prepared.sequences(corpus.split)
    lengths = np.diff(sequences.row_splits) - 1
    return _sliced("items in the history", entries, sequences.rows, lengths)


def by_popularity(corpus: Corpus, entries: Sequence[Entry]) -> Slices | None:
    """By how often the item that was asked for stands in the training part."""
    if corpus.prepared is None:
        return None
    sequences = corpus.prepared.sequences(corpus.split)
    targets = sequences.items[sequences.row_splits[1:] - 1]
    counts = corpus.prepared.catalogue.train_counts[targets]
    return _sliced("interactions with the item in training", entries, sequences.rows, counts)


def by_position(corpus: Corpus, entries: Sequence[Entry]) -> Slices | None:
    """By the place of the right answer in the prompt's list, from 1; None where no list is known.

    Every run has the same pools in the same order, so the first that shows them speaks for all.
    """
    for entry in entries:
        for run in entry.system.runs:
            found = run.predictions.get(f"{entry.prompt}_{corpus.name}")
            if found is None or found.pools is None:
                continue
            shown = [(t in pool, t, pool) for t, pool in zip(found.targets, found.pools)]  # noqa: B905
            if not all(known for known, _, _ in shown):
                continue
            places = np.array([pool.index(target) + 1 for _, target, pool in shown], np.int64)
            alike = [e for e in entries if e.prompt == entry.prompt]
            most = min(10, int(places.max()))
            return _sliced("place of the answer in the prompt", alike, found.rows, places, most)
    return None


def _sliced(
    title: str,
    entries: Sequence[Entry],
    rows: Int64[np.ndarray, " n"],
    values: Int64[np.ndarray, " n"],
    most: int = _BINS,
) -> Slices | None:
    """Entries without outcomes are left out; None where none has any."""
    known = [entry for entry in entries if len(entry.rows())]
    if not known:
        return None
    bins = bins_of(values, most)
    metric = main_metric(known[0].kind)
    figures = []
    for entry in known:
        mine = np.intersect1d(entry.rows(), rows, assume_unique=True)
        of_user = values[np.searchsorted(rows, mine)]
        gains = entry.gains(metric, mine)
        figures.append(
            (
                entry,
                tuple(_mean(gains[(of_user >= b.low) & (of_user <= b.high)]) for b in bins),
            )
        )
    return Slices(title, metric, tuple(bins), tuple(figures))


def _mean(gains: Float64[np.ndarray, " n"]) -> tuple[float, Interval]:
    if not len(gains):
        return float("nan"), Interval(float("nan"), float("nan"))
    samples = resampled_means(gains[:, np.newaxis], resamples=2_000)[:, 0]
    return float(gains.mean()), percentiles(samples)
