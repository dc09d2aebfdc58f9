"""The charts and tables of what the users' outcomes tell beyond one figure a system."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Float64, Int64

from recalign import metrics
from recalign.report import slices
from recalign.report.charts import MOST_LINES, Chart, Line, line_chart
from recalign.report.corpora import Corpus
from recalign.report.entries import Entry
from recalign.report.outcomes import main_metric
from recalign.report.predictions import Predictions
from recalign.report.tables import Cell, Table, bracketed, figure, key_of, metric_name, number

_BINS = 10  # of the calibration


@dataclasses.dataclass(frozen=True)
class Panel:
    """A chart and the same figures as a table."""

    chart: Chart
    table: Table


def _strongest_first(entries: Sequence[Entry], kind: str) -> list[Entry]:
    """Runs, then baselines, by their main figure: a chart shows the first ones."""
    metric = main_metric(kind)
    return sorted(entries, key=lambda e: (not e.system.runs, -(e.mean(metric) or 0.0)))


# Users --------------------------------------------------------------------------------------------


def panels_by_user(corpus: Corpus) -> list[Panel]:
    """Hit ratios by length of history, popularity of the item, and place in the prompt."""
    panels = []
    for kind, ways in (
        ("retrieval", (slices.by_history, slices.by_popularity)),
        ("ranking", (slices.by_history, slices.by_popularity, slices.by_position)),
    ):
        for way in ways:
            found = way(corpus, _strongest_first(corpus.of_kind(kind), kind))
            if found is not None and (len(found.bins) > 1 or found.note):
                panels.append(_slices_panel(corpus, kind, found))
    return panels


def _slices_panel(corpus: Corpus, kind: str, found: slices.Slices) -> Panel:
    title = f"{metric_name(found.metric)} of {kind} on {corpus.label} by {found.title}"
    labels = [bin.label for bin in found.bins]
    lines, rows = [], [(Cell("users"), *(Cell(f"{bin.users:,}", bin.users) for bin in found.bins))]
    for entry, figures in found.figures:
        means = [mean for mean, _ in figures]
        low, high = ([interval[end] for _, interval in figures] for end in (0, 1))
        lines.append(Line(entry.label, range(len(labels)), means, low, high))
        cells = (Cell(figure(mean), mean, note=bracketed(within)) for mean, within in figures)
        rows.append((Cell(entry.label), *cells))
    words = "; ".join(
        f"{line.label}: {figure(line.y[0])} at {labels[0]}, {figure(line.y[-1])} at {labels[-1]}"
        for line in lines[:MOST_LINES]
    )
    chart = line_chart(
        f"{title}. {found.note}" if found.note else title,
        lines,
        x_label=found.title,
        summary=f"{title}. {words}. {found.note}".rstrip(),
        y_from_zero=True,
        ticks=labels,
        points=True,
    )
    intervals = "In brackets, 95 % intervals over the users of the column (2,000 resamples)."
    key, columns = key_of(kind, "by", found.title, corpus.label), ("system", *labels)
    notes = (*filter(None, [found.note]), intervals)
    return Panel(chart, Table(key, title, columns, tuple(rows), notes=notes))


# Ratings ------------------------------------------------------------------------------------------


def panels_of_ratings(corpus: Corpus) -> list[Panel]:
    """ROC curves of all systems, and the calibration of runs, whose scores are probabilities."""
    entries = [e for e in corpus.of_kind("rating") if len(e.rows())]
    entries = _strongest_first(entries, "rating")
    if not entries:
        return []
    panels = [_roc_panel(corpus, entries)]
    stated = [entry for entry in entries if entry.system.runs]
    return [*panels, _calibration_panel(corpus, stated)] if stated else panels


def _roc_panel(corpus: Corpus, entries: Sequence[Entry]) -> Panel:
    title, lines, rows = f"ROC of ratings on {corpus.label}", [], []
    for entry in entries:
        scores, labels = _first_seed(entry)
        false, true = roc(scores, labels)
        # A page needs no more points than it has pixels.
        kept = slice(None, None, max(1, len(false) // 200))
        lines.append(Line(entry.label, [*false[kept], 1.0], [*true[kept], 1.0]))
        area = metrics.auc_roc(scores, labels)
        at = [float(true[false <= rate].max()) for rate in (0.1, 0.2, 0.5)]
        rows.append((Cell(entry.label), *map(number, (area, *at))))
    areas = "; ".join(f"{row[0].text}: area {row[1].text}" for row in rows)
    chart = line_chart(
        title,
        lines,
        x_label="share of dislikes taken for likes",
        summary=f"Receiver operating characteristic of ratings on {corpus.label}. {areas}.",
        diagonal=True,
    )
    table = Table(
        key_of("roc", corpus.label),
        f"{title}: likes found at a share of false alarms",
        ("system", "area", "at 0.1", "at 0.2", "at 0.5"),
        tuple(rows),
        notes=("Of the first seed where there are several.",),
    )
    return Panel(chart, table)


def _calibration_panel(corpus: Corpus, entries: Sequence[Entry]) -> Panel:
    title, lines, rows, errors = f"Calibration of ratings on {corpus.label}", [], [], []
    for entry in entries:
        found = calibration(*_first_seed(entry))
        lines.append(Line(entry.label, found.stated, found.came_true))
        errors.append(f"{entry.label}: expected calibration error {found.error:.4f}")
        pairs = zip(found.stated, found.came_true, strict=True)
        of_bins = Cell(", ".join(f"{p:.2f} → {s:.2f}" for p, s in pairs))
        rows.append((Cell(entry.label), number(found.error), number(found.brier), of_bins))
    words = "; ".join(errors)
    chart = line_chart(
        title,
        lines,
        x_label="stated probability of a like",
        summary=f"Share of likes on {corpus.label} by stated probability. {words}.",
        diagonal=True,
        points=True,
    )
    table = Table(
        key_of("calibration", corpus.label),
        title,
        ("system", "expected calibration error", "Brier score", "stated → came true"),
        tuple(rows),
        notes=(
            "P(yes) / (P(yes) + P(no)) in ten bins of as many users; a baseline's scores are no"
            " probabilities.",
        ),
    )
    return Panel(chart, table)


def _first_seed(entry: Entry) -> tuple[Float64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """The scores and labels that the curves are drawn of."""
    scores, labels = entry.scores(entry.rows())[0]
    return scores[0], labels


def roc(
    scores: Float64[np.ndarray, " n"], labels: Int64[np.ndarray, " n"]
) -> tuple[Float64[np.ndarray, " points"], Float64[np.ndarray, " points"]]:
    """(false positive rate, true positive rate) at every threshold, from (0, 0) to (1, 1).

    Users of one score pass the threshold together, so the area below is the AUC with ties as half.
    """
    order = np.argsort(-scores, kind="stable")
    ordered, positive = scores[order], labels[order] == 1
    last = np.flatnonzero(np.append(np.diff(ordered) != 0, True))
    true = np.append(0, np.cumsum(positive)[last])
    false = np.append(0, np.cumsum(~positive)[last])
    return false / max(false[-1], 1), true / max(true[-1], 1)


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Users in bins of as many, by what they were said to like."""

    stated: tuple[float, ...]  # the mean probability of each bin
    came_true: tuple[float, ...]  # the share of each bin that liked the item
    users: tuple[int, ...]  # how many each bin has
    error: float  # the mean distance of the two, weighed by users (expected calibration error)
    brier: float  # the mean squared distance of the probability and what came


def calibration(scores: Float64[np.ndarray, " n"], labels: Int64[np.ndarray, " n"]) -> Calibration:
    """Of scores that are log P(yes) - log P(no); ten bins, fewer of fewer users."""
    stated = 1 / (1 + np.exp(-scores))
    bins = np.array_split(np.argsort(stated, kind="stable"), min(_BINS, len(stated)))
    means = np.array([stated[bin].mean() for bin in bins])
    shares = np.array([labels[bin].mean() for bin in bins])
    users = np.array([len(bin) for bin in bins])
    return Calibration(
        tuple(means.tolist()),
        tuple(shares.tolist()),
        tuple(users.tolist()),
        float(np.average(np.abs(means - shares), weights=users)),
        float(np.mean((stated - labels) ** 2)),
    )


# Beams --------------------------------------------------------------------------------------------


def panels_of_beams(corpus: Corpus) -> list[Panel]:
    """How many beams are no item, or no candidate, by their place."""
    panels = []
    for kind in ("retrieval", "ranking"):
        entries = _strongest_first(corpus.of_kind(kind), kind)
        found = [v for entry in entries if (v := validity(corpus, entry)) is not None]
        if not found:
            continue
        title = f"Beams of {kind} on {corpus.label} that are {found[0].allowed}, by place"
        words = "; ".join(f"{v.entry.label}: {100 * v.overall:.1f} % overall" for v in found)
        chart = line_chart(
            title,
            [Line(v.entry.label, range(1, 1 + len(v.by_place)), v.by_place) for v in found],
            x_label="place of the beam, best first",
            summary=f"{title}. {words}.",
            y_from_zero=True,
        )
        most = max(len(v.by_place) for v in found)
        places = [place for place in (1, 2, 5, 10, 20) if place <= most]
        rows = []
        for v in found:
            shares = dict(enumerate(v.by_place, start=1))
            cells = (number(v.overall), *(number(shares.get(place)) for place in places))
            rows.append((Cell(v.entry.label), *cells))
        columns = ("system", "overall", *(f"place {place}" for place in places))
        table = Table(key_of("beams", kind, corpus.label), title, columns, tuple(rows))
        panels.append(Panel(chart, table))
    return panels


@dataclasses.dataclass(frozen=True)
class Validity:
    """How many beams are something that may be answered."""

    entry: Entry  # whose beams
    allowed: str  # "an item" or "a candidate"
    by_place: tuple[float, ...]  # [beams], the share of the users' beams of that place, best first
    overall: float  # the mean over users of the share of their beams


def validity(corpus: Corpus, entry: Entry) -> Validity | None:
    """Of the first run of an entry; None where its beams or the catalogue are not known."""
    if not entry.compares_with_paper or entry.kind == "rating" or not entry.system.runs:
        return None
    predictions = entry.system.runs[0].predictions.get(f"{entry.prompt}_{corpus.name}")
    if predictions is None:
        return None
    if entry.kind == "ranking":
        if predictions.pools is None or not all(predictions.pools):
            return None
        return _share(entry, "a candidate", predictions, predictions.pools)
    prepared = corpus.prepared.get(entry.system.draws[0])
    if prepared is None:
        return None
    catalogue = frozenset(prepared.catalogue.ids)
    return _share(entry, "an item", predictions, [catalogue] * len(predictions.beams))


def _share(
    entry: Entry, allowed: str, predictions: Predictions, answers: Sequence[Collection[str]]
) -> Validity:
    places = max(len(beams) for beams in predictions.beams)
    valid, filled = np.zeros(places), np.zeros(places)
    shares = []
    for beams, may_be in zip(predictions.beams, answers, strict=True):
        known = np.array([beam in may_be for beam in beams], np.float64)
        valid[: len(beams)] += known
        filled[: len(beams)] += 1
        shares.append(known.mean() if len(beams) else 0.0)
    return Validity(entry, allowed, tuple((valid / filled).tolist()), float(np.mean(shares)))
