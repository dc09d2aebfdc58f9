"""Tables 1 to 6, 8 and 9: the paper's figures beside ours, and the same of other datasets."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from recalign.report import paper
from recalign.report.comparison import share_of_optimum
from recalign.report.corpora import Corpus
from recalign.report.differences import best, difference, others, ours
from recalign.report.entries import Entry
from recalign.report.outcomes import main_metric
from recalign.report.systems import OPTIMUM
from recalign.report.tables import (
    MISSING,
    Cell,
    Table,
    figure,
    key_of,
    marks,
    metric_name,
    number,
    percent,
    percent_of_auc,
    signed,
)

# What stands in the tables of a dataset that the paper lacks: its mixtures, on any model.
_ABLATIONS = {
    4: ("retrieval", "retrieval_mlm", "reat"),
    5: ("ranking", "ranking_mlm", "ranking_mlm_mim", "raat"),
    6: ("rating", "rating_mlm", "rpat"),
    8: ("p5", "p5_direct", "ut"),
    9: ("ut", "ut_ie"),
}
_WITH_DELTA = (1, 2, 3)


def paper_tables(corpus: Corpus) -> list[Table]:
    """The tables of a dataset that hold anything of ours, the paper's figures where it has them."""
    tables = []
    for of_paper in paper.TABLES:
        rows = of_paper.rows.get(corpus.name, ()) if corpus.split == "test" else ()
        entries = _entries_of(of_paper, rows, corpus)
        if entries or rows:
            tables.append(_table(of_paper, rows, entries, corpus))
    return tables


def paper_alone(names: Sequence[str]) -> list[Table]:
    """The paper's tables of the datasets that nothing of ours was measured on."""
    return [
        _table(of_paper, of_paper.rows[name], [], Corpus(name, name, "test", (), (), {}, ()))
        for of_paper in paper.TABLES
        for name in names
        if name in of_paper.rows
    ]


def _entries_of(
    of_paper: paper.PaperTable, rows: Sequence[paper.PaperRow], corpus: Corpus
) -> list[Entry]:
    """Our entries that go into a table of the paper."""
    entries = corpus.of_kind(of_paper.kind)
    if of_paper.number in _WITH_DELTA:
        return [entry for entry in entries if not entry.paper_key.startswith("p5_direct")]
    if rows:
        keys = {row.key for row in rows}
        return [e for e in entries if e.compares_with_paper and e.paper_key in keys]
    about = _ABLATIONS[of_paper.number]
    chosen = [entry for entry in entries if entry.paper_key.split("/")[0] in about]
    # With one system there is nothing that Tables 1 to 3 do not say.
    distinct = {entry.paper_key.split("/")[0] for entry in chosen}
    return chosen if len(distinct) > 1 and distinct != {"ut"} else []


@dataclasses.dataclass(frozen=True)
class _Line:
    """A row to be: the paper's, ours, or both."""

    label: str
    of_paper: paper.PaperRow | None
    entry: Entry | None


def _lines(rows: Sequence[paper.PaperRow], entries: Sequence[Entry]) -> list[_Line]:
    """The paper's rows in its order, ours beside them; then what the paper lacks, baselines first.

    Of two runs that are the paper's same system the first stands beside it, the other below.
    """
    left = list(entries)
    lines = []
    for row in rows:
        if row.key == paper.DELTA:
            continue
        entry = next((e for e in left if e.compares_with_paper and e.paper_key == row.key), None)
        if entry is not None:
            left.remove(entry)
        lines.append(_Line(row.label, row, entry))
    left.sort(key=lambda entry: (entry.system.is_ours, entry.system.is_bound))
    return lines + [_Line(entry.label, None, entry) for entry in left]


def _table(
    of_paper: paper.PaperTable,
    rows: Sequence[paper.PaperRow],
    entries: Sequence[Entry],
    corpus: Corpus,
) -> Table:
    lines = _lines(rows, entries)
    mine = ours(corpus, of_paper.kind)
    columns: list[list[Cell]] = []
    known = of_paper.metrics
    own = [m for line in lines if line.entry for m in line.entry.values if m not in known]
    metrics = [*known, *dict.fromkeys(own)]
    for place, metric in enumerate(metrics):
        if rows:
            columns.append(_paper_column(of_paper, lines, place))
        columns.append(_our_column(of_paper, lines, metric))
    metric_names = [metric_name(metric) for metric in metrics]
    names = ["paper", "ours"] * len(metrics) if rows else metric_names
    groups = [(name, 2) for name in metric_names] if rows else []
    if rows and of_paper.number in _WITH_DELTA:
        delta = next(row for row in rows if row.key == paper.DELTA)
        as_they_come = [entry for entry in mine if entry.compares_with_paper]
        for place, metric in enumerate(metrics):
            of_metric = delta.figures[place] if place < len(known) else MISSING
            columns[2 * place].append(Cell(of_metric.replace("-", "−")))
            columns[2 * place + 1].append(_delta(corpus, as_they_come, metric))
        lines.append(_Line(delta.label, None, None))
    elif of_paper.number in _WITH_DELTA and mine:
        for place, metric in enumerate(metrics):
            columns[place].append(_delta(corpus, mine, metric))
        lines.append(_Line("Δ (%)", None, None))
    share = _share_column(of_paper, lines, corpus)
    if share:
        columns.append(share)
        names = [*names, "of the optimum"]
        groups += [("", 1)] if groups else []
    where = paper.DATASETS.get(corpus.label, corpus.label)
    return Table(
        key=key_of("table", of_paper.number, corpus.label),
        title=f"Table {of_paper.number}. {of_paper.title}: {where}",
        groups=tuple(groups),
        columns=("system", *names),
        rows=tuple(
            (Cell(line.label), *cells)
            for line, cells in zip(lines, zip(*columns, strict=True), strict=True)
        ),
        notes=_notes(of_paper, rows, entries, bool(share)),
    )


def _paper_column(of_paper: paper.PaperTable, lines: Sequence[_Line], place: int) -> list[Cell]:
    """The paper's figures; it has none for a metric of the user's own."""
    has_any = place < len(of_paper.metrics)
    texts = [
        line.of_paper.figures[place] if line.of_paper and has_any else MISSING for line in lines
    ]
    found = marks(texts, second=of_paper.marks_second)
    return [
        Cell(text, None if text == MISSING else float(text), mark)
        for text, mark in zip(texts, found, strict=True)
    ]


def _our_column(of_paper: paper.PaperTable, lines: Sequence[_Line], metric: str) -> list[Cell]:
    """Our figures; the optimum is a bound and takes no mark from the systems."""
    means = [line.entry.mean(metric) if line.entry else None for line in lines]
    shown = percent_of_auc if of_paper.kind == "rating" else figure
    texts = [shown(mean) for mean in means]
    ranked = [
        MISSING if line.entry and line.entry.system.is_bound else text
        for line, text in zip(lines, texts, strict=True)
    ]
    found = marks(ranked, second=of_paper.marks_second)
    cells = []
    for line, mean, text, mark in zip(lines, means, texts, found, strict=True):
        spread = line.entry.spread(metric) if line.entry else None
        note = "" if spread is None else f"± {shown(spread)}"
        cells.append(Cell(text, mean, mark, note))
    return cells


def _delta(corpus: Corpus, entries: Sequence[Entry], metric: str) -> Cell:
    """Our best against our best baseline, in percent, with the interval where it is known."""
    mine = best(entries, metric)
    theirs = best(others(corpus, mine.kind), metric) if mine else None
    found = difference(mine, theirs, metric) if mine and theirs else None
    if found is None or found.percent is None:
        return Cell(MISSING)
    span = found.percent_interval
    note = "" if span is None else f"[{signed(span.low, 1)}, {signed(span.high, 1)}]"
    # Without a value: it is not sorted among the systems.
    return Cell(signed(found.percent, 2), note=note)


def _share_column(
    of_paper: paper.PaperTable, lines: Sequence[_Line], corpus: Corpus
) -> list[Cell] | None:
    metric = main_metric(of_paper.kind)
    optimum = next((e for e in corpus.of_kind(of_paper.kind) if e.system.key == OPTIMUM), None)
    if optimum is None:
        return None
    cells = []
    for line in lines:
        mean = line.entry.mean(metric) if line.entry else None
        share = None if mean is None else share_of_optimum(metric, mean, optimum.mean(metric))
        cells.append(number(share, percent))
    return cells


def _notes(
    of_paper: paper.PaperTable,
    rows: Sequence[paper.PaperRow],
    entries: Sequence[Entry],
    has_share: bool,
) -> tuple[str, ...]:
    notes = []
    if rows:
        notes.append(
            "A row has a figure of ours where the same mixture was run on the same model, else a"
            " dash; other systems stand below with a dash in place of the paper's."
        )
    if any(len(values) > 1 for entry in entries for values in entry.values.values()):
        notes.append("± is the standard deviation over seeds, of which the figure is the mean.")
    if has_share:
        metric = metric_name(main_metric(of_paper.kind))
        notes.append(
            f"The optimum is what the law that made this log allows; shares are of {metric}"
            + (", from 50, which guessing gives." if of_paper.kind == "rating" else ".")
        )
    counts = {entry.num_examples for entry in entries if entry.num_examples}
    if len(counts) == 1:
        notes.append(f"{counts.pop():,} users.")
    elif counts:
        of_each = "; ".join(f"{e.label} {e.num_examples:,}" for e in entries if e.num_examples)
        notes.append(f"Not all were measured on as many users: {of_each}. Δ is over those of both.")
    return tuple(notes)
