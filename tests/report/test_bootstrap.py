import numpy as np
import pytest
import scipy.stats

from recalign import metrics
from recalign.report.bootstrap import percentiles, resampled_aucs, resampled_means


def test_a_share_has_the_binomials_interval():
    # Resamples of 50 hits in 100 users are a binomial's draws over 100: known exactly.
    hits = np.repeat([0.0, 1.0], 50)[:, np.newaxis]
    low, high = percentiles(resampled_means(hits)[:, 0])
    assert low == pytest.approx(scipy.stats.binom.ppf(0.025, 100, 0.5) / 100)
    assert high == pytest.approx(scipy.stats.binom.ppf(0.975, 100, 0.5) / 100)
    assert (round(low, 2), round(high, 2)) == (0.40, 0.60)


def test_a_paired_difference_has_the_spread_that_theory_says():
    # 30 users that only the first finds, 10 that only the second does, 60 without a difference.
    first = np.repeat([1.0, 0.0, 1.0, 0.0], [30, 10, 20, 40])
    second = np.repeat([0.0, 1.0, 1.0, 0.0], [30, 10, 20, 40])
    means = resampled_means(np.stack([first, second], axis=1))
    differences = means[:, 0] - means[:, 1]
    variance = (0.3 + 0.1 - 0.2**2) / 100
    assert differences.mean() == pytest.approx(0.2, abs=4 * np.sqrt(variance / 10_000))
    assert differences.std() == pytest.approx(np.sqrt(variance), rel=0.03)


def test_a_system_does_not_differ_from_itself_in_any_resample():
    gains = np.random.default_rng(1).random(50)
    means = resampled_means(np.stack([gains, gains], axis=1))
    assert np.abs(means[:, 0] - means[:, 1]).max() < 1e-12


def test_many_distinct_values_are_drawn_in_parts_with_the_same_mean():
    gains = np.random.default_rng(2).random((5_000, 1))
    means = resampled_means(gains, resamples=2_000)
    assert means.shape == (2_000, 1)
    assert means.std() == pytest.approx(gains.std() / np.sqrt(5_000), rel=0.06)


def test_areas_are_those_of_the_users_that_were_drawn():
    generator = np.random.default_rng(3)
    labels = generator.integers(2, size=30)
    scores = generator.integers(5, size=(2, 30)).astype(float)  # many ties
    areas = resampled_aucs(scores, labels, resamples=40, seed=7)
    drawn = np.random.default_rng(7).integers(30, size=(40, 30))
    for system in range(2):
        expected = [metrics.auc_roc(scores[system][users], labels[users]) for users in drawn]
        assert areas[system] == pytest.approx(expected)


def test_a_resample_of_one_class_has_no_area_and_is_left_out():
    areas = resampled_aucs(np.array([[0.1, 0.9]]), np.array([0, 1]), resamples=200)[0]
    assert np.isnan(areas).any()
    assert set(areas[~np.isnan(areas)]) == {1.0}
    assert percentiles(areas) == (1.0, 1.0)
    assert np.isnan(percentiles(np.full(3, np.nan)).low)


def test_the_same_seed_gives_the_same_interval():
    gains = np.random.default_rng(4).random((40, 1))
    assert percentiles(resampled_means(gains)[:, 0]) == percentiles(resampled_means(gains)[:, 0])
