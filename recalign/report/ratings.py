"""How good ratings are: the ROC curve, and whether a stated chance of like comes true."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float64, Int64

from recalign.report.entries import Entry

_BINS = 10


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Users in bins of as many, by what they were said to like."""

    stated: tuple[float, ...]  # the mean probability of each bin
    came_true: tuple[float, ...]  # the share of each bin that liked the item
    users: tuple[int, ...]  # how many each bin has
    error: float  # the mean distance of the two, weighed by users (expected calibration error)
    brier: float  # the mean squared distance of the probability and what came


def roc(
    scores: Float64[np.ndarray, " n"], labels: Int64[np.ndarray, " n"]
) -> tuple[Float64[np.ndarray, " points"], Float64[np.ndarray, " points"]]:
    """(false positive rate, true positive rate) at every threshold, from (0, 0) to (1, 1).

    Users of one score pass the threshold together, so the area below is the AUC with ties as half.
    """
    order = np.argsort(-scores, kind="stable")
    ordered, positive = scores[order], labels[order] == 1
    last = np.flatnonzero(np.append(np.diff(ordered) != 0, True))
    true = np.append(0, np.cumsum(positive)[last])
    false = np.append(0, np.cumsum(~positive)[last])
    return false / max(false[-1], 1), true / max(true[-1], 1)


def calibration(scores: Float64[np.ndarray, " n"], labels: Int64[np.ndarray, " n"]) -> Calibration:
    """Of scores that are log P(yes) - log P(no); ten bins, fewer of fewer users."""
    stated = 1 / (1 + np.exp(-scores))
    bins = np.array_split(np.argsort(stated, kind="stable"), min(_BINS, len(stated)))
    means = np.array([stated[bin].mean() for bin in bins])
    shares = np.array([labels[bin].mean() for bin in bins])
    users = np.array([len(bin) for bin in bins])
    return Calibration(
        tuple(means.tolist()),
        tuple(shares.tolist()),
        tuple(users.tolist()),
        float(np.average(np.abs(means - shares), weights=users)),
        float(np.mean((stated - labels) ** 2)),
    )


def first_seed(entry: Entry) -> tuple[Float64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """The scores and labels that the curves are drawn of."""
    scores, labels = entry.scores(entry.rows())[0]
    return scores[0], labels
