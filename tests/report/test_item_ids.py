from recalign.report.corpora import gather
from recalign.report.differences import tables_of_ids
from recalign.report.run import read_run
from tests.report.shop import INF, RETRIEVAL, Shop, write_run

P5 = {"mixture": "p5_shop", "retrieval": "p5_sequential_shop", "alone": True}
LAW = [{"synthetic": {"users": 8}}]


def test_sequential_ids_against_random_ones(shop, tmp_path):
    sequential = Shop(tmp_path / "data", item_ids="sequential")
    runs = [
        read_run(write_run(tmp_path / "sequential", sequential, ranks=(0,) * 8, **P5)),
        read_run(write_run(tmp_path / "random", shop, ranks=RETRIEVAL, **P5)),
        read_run(write_run(tmp_path / "ut", shop, alone=True)),
    ]
    (table,) = tables_of_ids(gather(runs, []))
    assert table.title == "Differences: sequential against random IDs in retrieval on shop 2"
    assert [row[2].text for row in table.rows] == ["NDCG@5", "NDCG@10", "HR@5", "HR@10"]
    row = table.rows[-1]
    # Three of eight users more: a binomial's quantiles, 1 and 6 of 8.
    assert [cell.text for cell in row] == [
        "P5, 0.3M, sequential IDs", "random IDs", "HR@10", "1.0000", "0.6250",
        "+0.3750", "[+0.1250, +0.7500]", "higher", "+60.0", "8",
    ]  # fmt: skip
    assert "a leak and no result" in table.notes[0]


def test_semantic_ids_over_the_draws_of_a_planted_corpus(tmp_path):
    runs = []
    for seed, of_random in ((0, RETRIEVAL), (1, (INF,) * 8)):
        for item_ids, ranks in (("random", of_random), ("semantic", (0,) * 8)):
            folder = tmp_path / f"{item_ids}{seed}"
            made = Shop(folder / "data", item_ids=item_ids, seed=seed, sources=LAW)
            runs.append(read_run(write_run(folder, made, ranks=ranks, seed=seed, alone=True)))
    (table,) = tables_of_ids(gather(runs, []))
    row = table.rows[-1]
    # 16 of 16 users against 5 of 16; by draw, 3 and 8 of 8 more.
    assert [cell.text for cell in row[3:6]] == ["1.0000", "0.3125", "+0.6875"]
    assert [cell.text for cell in row[-2:]] == ["+0.3750, +1.0000", "16"]
    assert table.columns[-2:] == ("by seed", "users")
    assert table.notes == ()


def test_other_users_are_not_compared(shop, tmp_path):
    other = Shop(tmp_path / "data", item_ids="sequential", users=7)
    runs = [
        read_run(write_run(tmp_path / "sequential", other, ranks=(0,) * 7, **P5)),
        read_run(write_run(tmp_path / "random", shop, **P5)),
    ]
    assert tables_of_ids(gather(runs, [])) == []


def test_there_is_no_table_without_both(shop, tmp_path):
    assert tables_of_ids(gather([read_run(write_run(tmp_path / "random", shop, **P5))], [])) == []
