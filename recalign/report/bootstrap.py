"""Bootstrap intervals over users: means, their ratios, and areas under the ROC curve.

A resample of n users draws n of them with replacement. Users with the same values need not be told
apart, so a mean's resample is a multinomial draw over the distinct values: the same distribution,
a hundred times as fast. Efron, B., Tibshirani, R.: An Introduction to the Bootstrap (1993), ch. 13.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

RESAMPLES = 10_000
LEVEL = 0.95
_SEED = 0
# Numbers in memory at a time.
_CHUNK = 1 << 22


class Interval(NamedTuple):
    """What the resamples' middle 95 % span; `clear` where it leaves 0 out."""

    low: float
    high: float

    @property
    def clear(self) -> bool:
        return self.low > 0 or self.high < 0


def percentiles(samples: Float64[np.ndarray, " resamples"]) -> Interval:
    """The percentile interval; resamples without a value (one class only) are left out."""
    tail = 50 * (1 - LEVEL)
    if np.isnan(samples).all():
        return Interval(float("nan"), float("nan"))
    low, high = np.nanpercentile(samples, [tail, 100 - tail])
    return Interval(float(low), float(high))


def resampled_means(
    values: Float64[np.ndarray, "n columns"], resamples: int = RESAMPLES, seed: int = _SEED
) -> Float64[np.ndarray, "resamples columns"]:
    """Means of the columns over users drawn anew; a user's values stay together."""
    distinct, counts = np.unique(np.asarray(values, np.float64), axis=0, return_counts=True)
    users = int(counts.sum())
    generator = np.random.default_rng(seed)
    rows = max(1, _CHUNK // len(distinct))
    parts = [
        generator.multinomial(users, counts / users, size=min(rows, resamples - start)) @ distinct
        for start in range(0, resamples, rows)
    ]
    return np.concatenate(parts) / users


def resampled_aucs(
    scores: Float64[np.ndarray, "systems n"],
    labels: Int64[np.ndarray, " n"],
    resamples: int = RESAMPLES,
    seed: int = _SEED,
) -> Float64[np.ndarray, "systems resamples"]:
    """Each system's area under the ROC curve over users drawn anew, the same ones for all systems.

    NaN where a resample has one class only.
    """
    users = scores.shape[1]
    generator = np.random.default_rng(seed)
    orders = [_TieOrder(line, labels) for line in scores]
    areas = np.empty((len(scores), resamples))
    rows = max(1, _CHUNK // users)
    for start in range(0, resamples, rows):
        stop = min(start + rows, resamples)
        drawn = generator.integers(users, size=(stop - start, users))
        drawn += users * np.arange(stop - start)[:, np.newaxis]
        counts = np.bincount(drawn.ravel(), minlength=(stop - start) * users)
        weights = counts.reshape(stop - start, users).astype(np.float64)
        for system, order in enumerate(orders):
            areas[system, start:stop] = order.areas(weights)
    return areas


class _TieOrder:
    """A system's users in the order of their scores, for areas under any weights."""

    def __init__(self, scores: Float64[np.ndarray, " n"], labels: Int64[np.ndarray, " n"]):
        order = np.argsort(scores, kind="stable")
        ordered, positive = scores[order], labels[order] == 1
        self._negatives, self._positives = order[~positive], order[positive]
        # Below a positive are the negatives of lower scores, and half of those of the same.
        self._below = np.searchsorted(ordered[~positive], ordered[positive], side="left")
        self._not_above = np.searchsorted(ordered[~positive], ordered[positive], side="right")

    def areas(
        self, weights: Float64[np.ndarray, "resamples n"]
    ) -> Float64[np.ndarray, " resamples"]:
        negatives = np.zeros((len(weights), len(self._negatives) + 1))
        np.cumsum(weights[:, self._negatives], axis=1, out=negatives[:, 1:])
        positives = weights[:, self._positives]
        below = (negatives[:, self._below] + negatives[:, self._not_above]) / 2
        pairs = positives.sum(axis=1) * negatives[:, -1]
        with np.errstate(invalid="ignore"):
            return np.einsum("rp,rp->r", positives, below) / np.where(pairs > 0, pairs, np.nan)
