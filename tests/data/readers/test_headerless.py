"""Published logs whose files have no header."""

import pytest

from tests.data.readers.reading import read_log

RATINGS = "1::20::5::978300760\n1::3::3.5::978302109\n2::20::4::978301968\n"


def test_amazons_ratings_only(write):
    log, items, report = read_log(
        "amazon_ratings",
        write("ratings_Toys.csv.gz", "A1,B1,5.0,1252800000\nA2,B1,1.0,1252700000\n"),
        write("meta.json", "{'asin': 'B1', 'title': 'A kite'}\n"),
    )
    assert (log.user_ids, log.item_ids) == (["A1", "A2"], ["B1"])
    assert log.timestamp.tolist() == [1252800000, 1252700000]
    assert log.rating.tolist() == [5, 1]
    assert items.titles == ["A kite"]
    assert not report.interactions.guessed


def test_a_line_with_other_fields_is_bad(write):
    path = write("r.csv", "A1,B1,5.0,1252800000\nA2,B1,1.0\n")
    log, _, report = read_log("amazon_ratings", path, max_bad_fraction=0.5)
    assert len(log) == 1
    assert report.interactions.samples == [f"{path}, line 2: 3 fields instead of 4: 'A2,B1,1.0'"]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_movielens_before_2014_by_its_folder(write, tmp_path, encoding):
    write("ratings.dat", RATINGS)
    write("movies.dat", "20::Misérables, Les (1995)::Drama|Musical\n".encode(encoding))
    log, items, _ = read_log("movielens", tmp_path)
    assert (log.user_ids, log.item_ids) == (["1", "2"], ["20", "3"])
    assert log.rating.tolist() == [5, 3.5, 4]
    assert items.titles == ["Misérables, Les (1995)"]
    assert items.categories == [["Drama", "Musical"]]


def test_movielens_before_2014_by_its_file(write):
    log, items, _ = read_log("movielens", write("ratings.dat.gz", RATINGS))
    assert (len(log), len(items)) == (3, 0)
