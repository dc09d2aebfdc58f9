import numpy as np
import pytest

from recalign import metrics
from recalign.report.analysis import calibration, roc, validity
from recalign.report.corpora import gather
from recalign.report.run import read_run
from tests.report import shop as made


def test_the_curve_of_a_case_by_hand():
    false, true = roc(np.array([4.0, 3.0, 3.0, 1.0]), np.array([1, 0, 1, 0]))
    assert false.tolist() == [0.0, 0.0, 0.5, 1.0]
    assert true.tolist() == [0.0, 0.5, 1.0, 1.0]


def test_the_area_below_the_curve_is_the_auc():
    scores, labels = np.array(made.LIKED), np.array(made.LABELS)
    false, true = roc(scores, labels)
    assert np.trapezoid(true, false) == pytest.approx(made.AUC)
    assert metrics.auc_roc(scores, labels) == pytest.approx(made.AUC)


def test_stated_chances_that_come_true_have_no_error():
    # Ten bins of ten users; of the bin with a stated k / 10, k users like.
    chances = np.repeat(np.arange(0.5, 10) / 10, 20)
    labels = np.concatenate([np.arange(20) < 2 * k + 1 for k in range(10)]).astype(int)
    found = calibration(np.log(chances / (1 - chances)), labels)
    assert found.users == (20,) * 10
    assert found.stated == pytest.approx(found.came_true)
    assert found.error == pytest.approx(0)
    assert found.brier == pytest.approx(np.mean((chances - labels) ** 2))


def test_overstated_chances_have_their_distance_as_error():
    found = calibration(np.full(20, np.log(9.0)), np.repeat([0, 1], 10))
    assert found.error == pytest.approx(0.5, abs=0.11)  # bins of two users: 0.9 against 0 or 1
    assert found.brier == pytest.approx((0.9**2 + 0.1**2) / 2)
    assert calibration(np.array([0.0]), np.array([1])).users == (1,)


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
