"""The paper's figures, against the paper itself where it is at hand."""

import os
import pathlib
import re

import pytest

from recalign.report import paper
from recalign.report.tables import BEST, SECOND, marks

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The paper does not underline the second of these columns.
NOT_UNDERLINED = {(3, "sports", "auc_roc")}


def paper_text() -> str:
    data = pathlib.Path(os.environ.get("RECALIGN_SHARED", ROOT.parent / "shared" / "data"))
    file = data.parent / "paper" / "aligning-llms-with-recommendation-knowledge.md"
    if not file.exists():
        pytest.skip(f"the paper is not there ({file}); set RECALIGN_SHARED")
    return file.read_text()


def rows_above(text: str, number: int) -> list[list[str]]:
    """The tab-separated lines right above a table's caption."""
    above = text[: text.index(f"\nTable {number}: ")].rstrip().splitlines()
    rows = []
    while above and "\t" in above[-1]:
        rows.append(above.pop().split("\t"))
    return rows[::-1]


def plain(cell: str) -> str:
    return re.sub(r"</?\w+>", "", cell).strip()


def label(cell: str) -> str:
    """Without the footnotes' numbers and [Ours]; S³-Rec's number stays."""
    cell = re.sub(r"^S\s*<sup>3</sup>\s*-", "S³-", cell)
    return re.sub(r"\s*(<sup>\d</sup>|\[Ours\])\s*", "", cell).strip()


def printed(text: str, number: int) -> dict[tuple[str, str], list[str]]:
    """{(dataset, row): cells with their marks}, read from the paper's own lines."""
    of_three = ["toys", "beauty", "sports"]
    rows = rows_above(text, number)
    if number == 6:  # two halves side by side
        rows = [part for row in rows for part in (row[:3], row[3:]) if len(part) == 3 and part[0]]
    found = {}
    for row in rows:
        is_ablation = number in (4, 5, 6)
        name = f"{row[0]}. {row[1]}" if is_ablation else label(row[0])
        cells = row[2:] if is_ablation else row[1:]
        if not cells or not re.fullmatch(r"[+-]?\d[\d.e-]*", plain(cells[-1])):
            continue
        datasets = of_three if number in (1, 2, 3, 8) else ["sports" if number == 9 else "toys"]
        each = len(cells) // len(datasets)
        for place, dataset in enumerate(datasets):
            found[dataset, name] = cells[place * each : (place + 1) * each]
    return found


@pytest.mark.parametrize("table", paper.TABLES, ids=lambda table: f"table {table.number}")
def test_every_cell_is_the_papers(table):
    found = {
        key: [plain(c) for c in row] for key, row in printed(paper_text(), table.number).items()
    }
    ours = {
        (dataset, row.label): list(row.figures)
        for dataset, rows in table.rows.items()
        for row in rows
    }
    assert ours == found
    assert all(len(cells) == len(table.metrics) for cells in ours.values())


@pytest.mark.parametrize("table", paper.TABLES, ids=lambda table: f"table {table.number}")
def test_best_and_second_are_marked_as_the_paper_marks_them(table):
    found = printed(paper_text(), table.number)
    for dataset, rows in table.rows.items():
        rows = [row for row in rows if row.key != paper.DELTA]
        for place, metric in enumerate(table.metrics):
            column = [found[dataset, row.label][place] for row in rows]
            theirs = [BEST if "<b>" in cell else SECOND if "<u>" in cell else "" for cell in column]
            mine = marks([row.figures[place] for row in rows], second=table.marks_second)
            if (table.number, dataset, metric) in NOT_UNDERLINED:
                mine = [mark if mark == BEST else "" for mark in mine]
            assert mine == theirs, (dataset, metric)


def test_the_order_of_the_columns_is_the_papers():
    for table in paper.TABLES:
        heads = rows_above(paper_text(), table.number)
        names = [plain(c).replace(" ", "") for row in heads for c in row if "@" in c]
        expected = [metric.upper() for metric in table.metrics if "@" in metric]
        assert names[: len(expected)] == expected


def test_delta_follows_from_the_rows():
    # ReAT's NDCG@10 of 0.0461 against TIGER's 0.0432: +6.71 %.
    toys = {row.label: row for row in paper.TABLES[0].rows["toys"]}
    delta = 100 * (float(toys["ReAT"].figures[1]) / float(toys["TIGER"].figures[1]) - 1)
    assert f"{delta:+.2f}" == toys["Δ (%)"].figures[1]
