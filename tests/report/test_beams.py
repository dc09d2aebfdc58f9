import pytest

from recalign.report.beams import validity
from recalign.report.corpora import gather
from recalign.report.run import read_run


@pytest.fixture
def corpus(run_directory):
    return gather([read_run(run_directory)], [])[0]


def test_how_many_beams_of_each_place_are_an_item(corpus):
    found = validity(corpus, corpus.of_kind("retrieval")[0])
    assert found.allowed == "an item"
    # The first beam always is; else where the answer stands: ranks 0, 0, 4, 9 and 2 of 8 users.
    assert list(found.by_place) == [1, 0, 1 / 8, 0, 1 / 8, 0, 0, 0, 0, 1 / 8]
    assert found.overall == pytest.approx((8 + 3) / 80)


def test_how_many_beams_are_a_candidate(corpus, shop):
    plain, pooled = corpus.of_kind("ranking")
    found = validity(corpus, plain)
    assert found.allowed == "a candidate"
    beams = [shop.beams(row, rank)[0] for row, rank in enumerate((0, 99, 1, 99, 99, 0, 99, 99))]
    assert found.by_place[0] == sum(b in shop.pool(row) for row, b in enumerate(beams)) / 8
    assert found.by_place[1] == 1 / 8
    assert validity(corpus, pooled) is None


def test_nothing_is_said_without_the_catalogue_or_of_ratings(run_directory, corpus, tmp_path):
    (bare,) = gather([read_run(run_directory)], [], tmp_path)
    assert validity(bare, bare.of_kind("retrieval")[0]) is None
    assert validity(corpus, corpus.of_kind("rating")[0]) is None
