"""Where a system is right: by length of history, popularity of the item, place in the pool."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64, Int64

from recalign.report.bootstrap import Interval, percentiles, resampled_means
from recalign.report.corpora import Corpus
from recalign.report.entries import Entry
from recalign.report.outcomes import DRAW, main_metric
from recalign.report.predictions import Predictions

_BINS = 5


@dataclasses.dataclass(frozen=True)
class Bin:
    """Users whose value is from `low` to `high`, both included; `name` says what no range says."""

    low: int
    high: int
    users: int
    name: str = ""

    @property
    def label(self) -> str:
        if self.name:
            return self.name
        return f"{self.low:,}" if self.low == self.high else f"{self.low:,}–{self.high:,}"


@dataclasses.dataclass(frozen=True)
class Slices:
    """The main metric of entries over bins of users."""

    title: str  # what the bins are of, such as "items in the history"
    metric: str  # "hr@10" or "hr@1"
    bins: tuple[Bin, ...]  # ascending
    # A line an entry, a figure and its 95 % interval over users a bin.
    figures: tuple[tuple[Entry, tuple[tuple[float, Interval], ...]], ...]
    note: str = ""  # what a bin with a name stands for; "" where none has one


def bins_of(values: Int64[np.ndarray, " n"], most: int = _BINS) -> list[Bin]:
    """Bins of about as many users each; equal values are never parted, so there may be fewer.

    A value of 0 has a bin of its own: an item that training never showed (cold) is like no other.

    >>> [b.label for b in bins_of(np.array([1, 1, 1, 2, 3, 4, 5, 6, 7]), most=3)]
    ['1', '2–4', '5–7']
    >>> [b.label for b in bins_of(np.array([0, 1, 1, 1, 2, 3, 4, 5, 6, 7]), most=3)]
    ['0', '1', '2–4', '5–7']
    """
    distinct, counts = np.unique(values, return_counts=True)
    known = np.where(distinct == 0, 0, counts)
    middles = np.cumsum(known) - known / 2
    number = np.minimum((middles * most / max(1, known.sum())).astype(int), most - 1)
    number[distinct == 0] = -1
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
    lengths = {
        draw: np.diff(dataset.sequences(corpus.split).row_splits) - 1
        for draw, dataset in corpus.prepared.items()
    }
    return _sliced("items in the history", entries, _by_row(corpus, lengths))


def by_popularity(corpus: Corpus, entries: Sequence[Entry]) -> Slices | None:
    """By how often the item that was asked for stands in the training part.

    Users whose item training never showed are the cold slice, a bin that is named and counted.
    """
    counts = {}
    for draw, dataset in corpus.prepared.items():
        sequences = dataset.sequences(corpus.split)
        targets = sequences.items[sequences.row_splits[1:] - 1]
        counts[draw] = dataset.catalogue.train_counts[targets]
    found = _sliced("interactions with the item in training", entries, _by_row(corpus, counts))
    if found is None or found.bins[0].high > 0:
        return found
    cold, *warm = found.bins
    users = sum(bin.users for bin in found.bins)
    return dataclasses.replace(
        found,
        bins=(dataclasses.replace(cold, name="0 (cold)"), *warm),
        note=(
            f"0 (cold): the cold slice, users whose item is unseen in training: {cold.users:,} of"
            f" {users:,} ({100 * cold.users / users:.1f} %)."
        ),
    )


def by_position(corpus: Corpus, entries: Sequence[Entry]) -> Slices | None:
    """By the place of the right answer in the prompt's list, from 1; None where no list is known.

    Every run has the same pools in the same order, so the first that shows them speaks for all.
    """
    for prompt in dict.fromkeys(entry.prompt for entry in entries):
        alike = [entry for entry in entries if entry.prompt == prompt]
        places: dict[int, dict[int, int]] = {}
        for entry in alike:
            for draw, run in zip(entry.system.draws, entry.system.runs, strict=True):
                found = run.predictions.get(f"{prompt}_{corpus.name}")
                if found is not None and not places.get(draw):
                    places[draw] = _places(found)
        of_row = {d * DRAW + row: at for d in sorted(places) for row, at in places[d].items()}
        if of_row:
            most = min(10, max(of_row.values()))
            return _sliced("place of the answer in the prompt", alike, of_row, most)
    return None


def _places(found: Predictions) -> dict[int, int]:
    """The answer's place in the pool of every row; empty where a pool is not known."""
    if found.pools is None or not all(t in p for t, p in zip(found.targets, found.pools)):  # noqa: B905
        return {}
    asked = zip(found.rows.tolist(), found.targets, found.pools, strict=True)
    return {row: pool.index(target) + 1 for row, target, pool in asked}


def _by_row(corpus: Corpus, of_draws: Mapping[int, np.ndarray]) -> dict[int, int]:
    """Values in the order of each draw's users, by the row that an entry knows a user by."""
    found: dict[int, int] = {}
    for draw, values in of_draws.items():
        rows = draw * DRAW + corpus.prepared[draw].sequences(corpus.split).rows
        found |= zip(rows.tolist(), values.tolist(), strict=True)
    return found


def _sliced(
    title: str, entries: Sequence[Entry], of_row: Mapping[int, int], most: int = _BINS
) -> Slices | None:
    """Entries without outcomes are left out; None where none has any, or no user has a value."""
    known = [entry for entry in entries if len(entry.rows())]
    if not known or not of_row:
        return None
    rows, values = np.array(sorted(of_row.items()), np.int64).T
    bins = bins_of(values, most)
    metric = main_metric(known[0].kind)
    figures = []
    for entry in known:
        mine = np.intersect1d(entry.rows(), rows, assume_unique=True)
        of_user = values[np.searchsorted(rows, mine)]
        gains = entry.gains(metric, mine)
        of_bins = (gains[(of_user >= bin.low) & (of_user <= bin.high)] for bin in bins)
        figures.append((entry, tuple(map(_mean, of_bins))))
    return Slices(title, metric, tuple(bins), tuple(figures))


def _mean(gains: Float64[np.ndarray, " n"]) -> tuple[float, Interval]:
    if not len(gains):
        return float("nan"), Interval(float("nan"), float("nan"))
    samples = resampled_means(gains[:, np.newaxis], resamples=2_000)[:, 0]
    return float(gains.mean()), percentiles(samples)
