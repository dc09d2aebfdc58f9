"""The charts and tables of what the users' outcomes tell beyond one figure a system."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from recalign import metrics
from recalign.report import beams, ratings, slices
from recalign.report.charts import MOST_LINES, Chart, Line, line_chart
from recalign.report.corpora import Corpus
from recalign.report.entries import Entry
from recalign.report.outcomes import main_metric
from recalign.report.tables import Cell, Table, bracketed, figure, key_of, metric_name, number


@dataclasses.dataclass(frozen=True)
class Panel:
    """A chart and the same figures as a table."""

    chart: Chart
    table: Table


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


def _strongest_first(entries: Sequence[Entry], kind: str) -> list[Entry]:
    """Runs, then baselines, by their main figure: a chart shows the first ones."""
    metric = main_metric(kind)
    return sorted(entries, key=lambda e: (not e.system.runs, -(e.mean(metric) or 0.0)))


def _slices_panel(corpus: Corpus, kind: str, found: slices.Slices) -> Panel:
    title = f"{metric_name(found.metric)} of {kind} on {corpus.label} by {found.title}"
    labels = [bin.label for bin in found.bins]
    lines = [
        Line(
            entry.label,
            range(len(labels)),
            [mean for mean, _ in figures],
            [interval.low for _, interval in figures],
            [interval.high for _, interval in figures],
        )
        for entry, figures in found.figures
    ]
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
    notes = ["In brackets, 95 % intervals over the users of the column (2,000 resamples)."]
    table = Table(
        key_of(kind, "by", found.title, corpus.label),
        title,
        ("system", *labels),
        (
            (Cell("users"), *(Cell(f"{bin.users:,}", bin.users) for bin in found.bins)),
            *(
                (
                    Cell(entry.label),
                    *(Cell(figure(mean), mean, note=bracketed(within)) for mean, within in figures),
                )
                for entry, figures in found.figures
            ),
        ),
        notes=(*filter(None, [found.note]), *notes),
    )
    return Panel(chart, table)


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
    lines, rows = [], []
    for entry in entries:
        scores, labels = ratings.first_seed(entry)
        false, true = ratings.roc(scores, labels)
        # A page needs no more points than it has pixels.
        kept = slice(None, None, max(1, len(false) // 200))
        lines.append(Line(entry.label, [*false[kept], 1.0], [*true[kept], 1.0]))
        area = metrics.auc_roc(scores, labels)
        at = [float(true[false <= rate].max()) for rate in (0.1, 0.2, 0.5)]
        rows.append((Cell(entry.label), *map(number, (area, *at))))
    areas = "; ".join(f"{row[0].text}: area {row[1].text}" for row in rows)
    chart = line_chart(
        f"ROC of ratings on {corpus.label}",
        lines,
        x_label="share of dislikes taken for likes",
        summary=f"Receiver operating characteristic of ratings on {corpus.label}. {areas}.",
        diagonal=True,
    )
    table = Table(
        key_of("roc", corpus.label),
        f"ROC of ratings on {corpus.label}: likes found at a share of false alarms",
        ("system", "area", "at 0.1", "at 0.2", "at 0.5"),
        tuple(rows),
        notes=("Of the first seed where there are several.",),
    )
    return Panel(chart, table)


def _calibration_panel(corpus: Corpus, entries: Sequence[Entry]) -> Panel:
    found = [(entry, ratings.calibration(*ratings.first_seed(entry))) for entry in entries]
    title = f"Calibration of ratings on {corpus.label}"
    words = "; ".join(f"{e.label}: expected calibration error {c.error:.4f}" for e, c in found)
    chart = line_chart(
        title,
        [Line(entry.label, c.stated, c.came_true) for entry, c in found],
        x_label="stated probability of a like",
        summary=f"Share of likes on {corpus.label} by stated probability. {words}.",
        diagonal=True,
        points=True,
    )
    rows = []
    for entry, c in found:
        pairs = zip(c.stated, c.came_true, strict=True)
        of_bins = Cell(", ".join(f"{p:.2f} → {s:.2f}" for p, s in pairs))
        rows.append((Cell(entry.label), number(c.error), number(c.brier), of_bins))
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


def panels_of_beams(corpus: Corpus) -> list[Panel]:
    """How many beams are no item, or no candidate, by their place."""
    panels = []
    for kind in ("retrieval", "ranking"):
        entries = _strongest_first(corpus.of_kind(kind), kind)
        found = [v for entry in entries if (v := beams.validity(corpus, entry)) is not None]
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
