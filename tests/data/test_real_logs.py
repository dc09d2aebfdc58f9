"""The paper's Toys log and MovieLens, where they are there (`conftest.shared_data`)."""

import pytest

from recalign.data.from_files import prepare_from_files
from recalign.data.leaks import leak_report
from recalign.data.statistics import PAPER_TABLE_7, PAPER_TABLE_10, dataset_statistics


def toys(shared_data, data_dir, **settings):
    return prepare_from_files(
        "toys",
        data_dir=data_dir,
        format="sequences",
        interactions=shared_data / "amazon" / "toys.sequences.tsv.gz",
        items=shared_data / "amazon" / "toys.items.tsv.gz",
        **settings,
    )


def test_toys_is_the_papers_to_the_digit(shared_data, tmp_path):
    dataset, lines = toys(shared_data, tmp_path)
    statistics = dataset_statistics(dataset)
    for figure, paper in PAPER_TABLE_7["toys"].items():
        assert round(statistics[figure], 2) == paper
    for task in ("retrieval", "ranking"):
        assert statistics["samples"][task] == PAPER_TABLE_10["toys"]
    assert lines == []
    # This copy of the log is sorted by ASIN: its "next item" is a higher ASIN (docs/results.md).
    (leak,) = [leak for leak in leak_report(dataset) if leak.leaks]
    assert leak.name == "order of raw IDs" and leak.measured == 1.0
    assert leak.chance == pytest.approx(0.148, abs=5e-4)


def test_p5s_numbering_of_toys_leaks(shared_data, tmp_path):
    dataset, lines = toys(shared_data, tmp_path, item_ids="sequential")
    leaks = {leak.name: leak for leak in leak_report(dataset)}
    assert leaks["ids within ±1"].leaks and leaks["ids within ±3"].leaks
    assert leaks["ids within ±1"].measured > 10 * leaks["ids within ±1"].chance
    assert any(line.startswith("warning: sequential") for line in lines)


def test_movielens_from_its_folder(shared_data, tmp_path):
    dataset, lines = prepare_from_files(
        "ml", data_dir=tmp_path, format="movielens", interactions=shared_data / "ml-latest-small"
    )
    assert dataset.info["users"] == 671
    assert [source["lines"] for source in dataset.info["sources"]] == [100_004, 9_125]
    assert all(source["bad_lines"] == 0 for source in dataset.info["sources"])
    assert dataset.sequences("test").ratings.min() == pytest.approx(0.5)
    assert dataset.sequences("test").ratings.max() == 5.0
    row = dataset.catalogue.raw_ids.index("11")
    assert dataset.catalogue.titles[row] == "American President, The (1995)"
    assert not any("bad lines" in line for line in lines)
    assert not any(leak.leaks for leak in leak_report(dataset))
