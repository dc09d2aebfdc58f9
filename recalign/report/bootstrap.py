"""Bootstrap intervals over users: means, their ratios, and areas under the ROC curve.

A resample of n users draws n of them with replacement. Users with the same values need not be told
apart, so a mean's resample is a multinomial draw over the distinct values: the same distribution,
a hundred times as fast. Efron, B., Tibshirani, R.: An Introduction to the Bootstrap (1993), ch. 13.
"""

from __future__ import annotations

from collections.abc import Callable
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
    values: Float64[np.ndarray, "n columns"], resamples: int = RESAMPLES
) -> Float64[np.ndarray, "resamples columns"]:
    """Means of the columns over users drawn anew; a user's values stay together."""
    distinct, counts = np.unique(np.asarray(values, np.float64), axis=0, return_counts=True)
    users = int(counts.sum())
    generator = np.random.default_rng(_SEED)
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
    areas_of = [_areas_of(line, labels) for line in scores]
    areas = np.empty((len(scores), resamples))
    rows = max(1, _CHUNK // users)
    for start in range(0, resamples, rows):
        stop = min(start + rows, resamples)
        drawn = generator.integers(users, size=(stop - start, users))
        drawn += users * np.arange(stop - start)[:, np.newaxis]
        counts = np.bincount(drawn.ravel(), minlength=(stop - start) * users)
        weights = counts.reshape(stop - start, users).astype(np.float64)
        for system, of_system in enumerate(areas_of):
            areas[system, start:stop] = of_system(weights)
    return areas


def _areas_of(
    scores: Float64[np.ndarray, " n"], labels: Int64[np.ndarray, " n"]
) -> Callable[[Float64[np.ndarray, "resamples n"]], Float64[np.ndarray, " resamples"]]:
    """Gives a system's areas under any weights of the users; they are put in order once."""
    order = np.argsort(scores, kind="stable")
    ordered, positive = scores[order], labels[order] == 1
    of_negatives, of_positives = order[~positive], order[positive]
    # Below a positive are the negatives of lower scores, and half of those of the same.
    lower, not_above = (
        np.searchsorted(ordered[~positive], ordered[positive], side=side)
        for side in ("left", "right")
    )

    def areas(weights: np.ndarray) -> np.ndarray:
        negatives = np.zeros((len(weights), len(of_negatives) + 1))
        np.cumsum(weights[:, of_negatives], axis=1, out=negatives[:, 1:])
        positives = weights[:, of_positives]
        below = (negatives[:, lower] + negatives[:, not_above]) / 2
        pairs = positives.sum(axis=1) * negatives[:, -1]
        with np.errstate(invalid="ignore"):
            return np.einsum("rp,rp->r", positives, below) / np.where(pairs > 0, pairs, np.nan)

    return areas
