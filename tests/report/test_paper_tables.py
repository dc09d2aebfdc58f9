import numpy as np
import pytest

from recalign.report.baselines import read_baselines
from recalign.report.corpora import Corpus, gather
from recalign.report.entries import Entry
from recalign.report.outcomes import Ranks
from recalign.report.paper_tables import paper_alone, paper_tables
from recalign.report.run import read_run
from recalign.report.systems import System
from recalign.report.tables import marks
from tests.report.shop import INF, RETRIEVAL, write_baselines, write_run


def row_of(table, name: str) -> list[str]:
    return [cell.text for cell in next(row for row in table.rows if row[0].text == name)]


def toys(*entries: Entry) -> Corpus:
    return Corpus("toys", "toys", "test", (), entries, {}, ())


def retrieval(label: str, key: str, hits: float, *, is_ours: bool, outcomes=()) -> Entry:
    values = dict.fromkeys(("ndcg@5", "ndcg@10", "hr@5", "hr@10"), (hits,))
    return Entry(System(label, key, is_ours), "retrieval", "retrieval", "", values, outcomes, 4)


def test_ours_stands_beside_the_papers_row_of_the_same_mixture_and_model():
    table = paper_tables(
        toys(
            retrieval("ReAT, FLAN-T5-XL", "reat/xl", 0.0456, is_ours=True),
            retrieval("ReAT, FLAN-T5-Base", "reat/base", 0.0123, is_ours=True),
            retrieval("SASRec", "sasrec", 0.0300, is_ours=False),
            retrieval("TIGER, 10M", "tiger/", 0.0200, is_ours=False),
        )
    )[0]
    assert table.title == "Table 1. Retrieval: Toys & Games"
    assert table.groups == (("NDCG@5", 2), ("NDCG@10", 2), ("HR@5", 2), ("HR@10", 2))
    assert row_of(table, "ReAT")[1:5] == ["0.0390", "0.0456", "0.0461", "0.0456"]
    assert row_of(table, "SASRec")[7:] == ["0.0675", "0.0300"]
    assert row_of(table, "TIGER")[1:3] == ["0.0371", "0.0200"]
    assert row_of(table, "ReAT, FLAN-T5-Base")[1:3] == ["—", "0.0123"]
    # (0.0456 / 0.0300 - 1) * 100
    assert row_of(table, "Δ (%)")[1:3] == ["+5.66", "+52.00"]


def test_the_base_model_is_a_row_of_the_ablation():
    entry = retrieval("ReAT, FLAN-T5-Base", "reat/base", 0.0123, is_ours=True)
    table = next(t for t in paper_tables(toys(entry)) if t.key == "table-4-toys")
    assert row_of(table, "9. 8+MIM")[1:3] == ["0.0242", "0.0123"]
    assert row_of(table, "5. 4+MIM")[1:3] == ["0.0390", "—"]


def test_all_tables_of_a_paper_dataset_are_there_even_where_nothing_was_run():
    assert [t.key for t in paper_tables(toys())] == [
        f"table-{n}-toys" for n in (1, 2, 3, 4, 5, 6, 8)
    ]
    assert [t.key for t in paper_alone(["sports"])] == [
        f"table-{n}-sports" for n in (1, 2, 3, 8, 9)
    ]
    assert row_of(paper_alone(["sports"])[-1], "UT+IE")[-2:] == ["0.0185", "—"]


def test_marks_of_both_columns():
    table = paper_tables(
        toys(
            retrieval("ReAT, FLAN-T5-XL", "reat/xl", 0.04, is_ours=True),
            retrieval("SASRec", "sasrec", 0.05, is_ours=False),
            retrieval("Optimum", "optimum", 0.9, is_ours=False),
        )
    )[0]
    by_name = {row[0].text: row for row in table.rows}
    assert (by_name["UT+AT"][1].mark, by_name["ReAT"][1].mark) == ("best", "second")
    assert (by_name["SASRec"][2].mark, by_name["ReAT"][2].mark) == ("best", "second")
    assert by_name["Optimum"][2].mark == ""
    assert by_name["SASRec"][-1].text == "6 %"  # 0.05 of 0.9


def test_delta_has_the_interval_of_the_ratio():
    rows = np.arange(12)
    found = Ranks(rows, np.zeros(12)), Ranks(rows, np.repeat([0.0, 20.0], [9, 3]))
    table = paper_tables(
        toys(
            retrieval("a", "ut/xl", 1.0, is_ours=True, outcomes=found[:1]),
            retrieval("b", "sasrec", 0.75, is_ours=False, outcomes=found[1:]),
        )
    )[0]
    cell = next(row for row in table.rows if row[0].text == "Δ (%)")[8]
    # Of twelve users drawn anew the second misses none (a binomial's 0.025 quantile at 1 in 4) to
    # six (its 0.975 quantile): 12 / 12 to 12 / 6.
    assert cell.text == "+33.33"
    assert cell.note == "[+0.0, +100.0]"


def test_a_dataset_that_the_paper_lacks_has_the_same_tables_without_its_column(shop, tmp_path):
    better = (0, 0, 0, 0, 0, 0, 0, INF)
    runs = [
        read_run(write_run(tmp_path / "ut", shop)),
        read_run(write_run(tmp_path / "ut1", shop, seed=1, ranks=better)),
        read_run(write_run(tmp_path / "r", shop, mixture="retrieval_shop", alone=True)),
        read_run(write_run(tmp_path / "reat", shop, mixture="reat_shop", alone=True)),
    ]
    folder = read_baselines(write_baselines(tmp_path / "b", {"popularity": RETRIEVAL}))
    tables = {table.key: table for table in paper_tables(gather(runs, [folder])[0])}
    assert sorted(tables) == [f"table-{n}-shop" for n in (1, 2, 3, 4)]
    first = tables["table-1-shop"]
    assert first.columns == ("system", "NDCG@5", "NDCG@10", "HR@5", "HR@10")
    # Counted by hand: 5 of 8 and 7 of 8; 0.75 with a spread of 0.1768.
    cell = next(row for row in first.rows if row[0].text == "UT, 0.3M")[4]
    assert (cell.text, cell.note, cell.mark) == ("0.7500", "± 0.1768", "best")
    # 4 of the 15 pairs are not in order, and one is a tie.
    rating = row_of(tables["table-3-shop"], "UT, 0.3M")
    assert rating[1] == "70.00"
    assert row_of(tables["table-2-shop"], "UT, 0.3M, within the pool")[3] == "0.5000"


def test_the_papers_figures_are_of_the_test_split():
    entries = (retrieval("ReAT", "reat/xl", 0.1, is_ours=True),)
    table = paper_tables(Corpus("toys", "toys", "validation", (), entries, {}, ()))[0]
    assert "paper" not in table.columns


@pytest.mark.parametrize(
    ("texts", "second", "expected"),
    [
        (["0.5", "0.4", "0.4", "—"], True, ["best", "second", "second", ""]),
        (["0.5", "0.4"], False, ["best", ""]),
        (["—", "—"], True, ["", ""]),
        (["2e-5", "0.0000"], True, ["best", "second"]),
    ],
)
def test_best_and_second(texts, second, expected):
    assert marks(texts, second=second) == expected
