from recalign.report.corpora import gather
from recalign.report.leak import leak_lines
from recalign.report.run import read_run
from tests.report.shop import RETRIEVAL, Shop, write_run

P5 = {"mixture": "p5_shop", "retrieval": "p5_sequential_shop", "alone": True}


def test_random_ids_beside_sequential_ones_in_a_line(shop, tmp_path):
    sequential = Shop(tmp_path / "data", item_ids="sequential")
    runs = [
        read_run(write_run(tmp_path / "sequential", sequential, ranks=(0,) * 8, **P5)),
        read_run(write_run(tmp_path / "random", shop, ranks=RETRIEVAL, **P5)),
    ]
    (line,) = leak_lines(gather(runs, []))
    # Three of eight users more: a binomial's quantiles, 1 and 6 of 8.
    assert line == (
        "P5, 0.3M, p5_sequential: HR@10 0.6250 with random IDs, 1.0000 with sequential ones"
        " (+0.3750, 95 % [+0.1250, +0.7500])."
    )


def test_there_is_no_line_without_both(shop, tmp_path):
    assert leak_lines(gather([read_run(write_run(tmp_path / "random", shop, **P5))], [])) == []
