import numpy as np
import pytest

from recalign import metrics
from recalign.report.ratings import calibration, roc
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
