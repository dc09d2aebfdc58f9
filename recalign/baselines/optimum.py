"""The optimum of a synthetic corpus: Bayes' rule of the law that generated it.

Retrieval and ranking see the user's whole history in order, which is what a prompt shows when its
window holds the longest history. Rating sees, in addition, the order in which liked and disliked
items alternate, which a prompt does not show: there the optimum is an upper bound.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from recalign.data.law import Law

# Gauss-Laguerre quadrature: the integral over t >= 0 of exp(-t) times a smooth function.
_NODES, _NODE_WEIGHTS = np.polynomial.laguerre.laggauss(64)


def ranking_scores(
    law: Law,
    history: Sequence[int],
    candidates: Int[np.ndarray, "C"],
    train_counts: Int[np.ndarray, "N"],
) -> Float[np.ndarray, "C"]:
    """P(candidate is the positive | history, the pool), up to a factor common to the pool.

    A pool tells more than the history: its other members were drawn by train popularity without
    replacement from what the user never had, so a popular candidate is likelier a negative. With
    w the train counts and R the items neither in the history nor in the pool,

        P(S is the drawn set) = integral over t >= 0 of exp(-t) *
                                prod over j in S of (1 - exp(-t * w_j / sum of w over R))

    (exponential clocks: all of S ring before the first of R, at time t).
    """
    rest = np.ones(len(train_counts), bool)
    rest[list(history)] = False
    rest[candidates] = False
    weights = np.maximum(train_counts[candidates], 1e-9) / max(train_counts[rest].sum(), 1e-9)
    log_rings_CxQ = np.log(-np.expm1(-_NODES[None, :] * weights[:, None]))
    log_others_CxQ = log_rings_CxQ.sum(axis=0) - log_rings_CxQ
    log_scale = log_others_CxQ.max()
    drawn = (np.exp(log_others_CxQ - log_scale) * _NODE_WEIGHTS).sum(axis=1)
    return law.next_item(history)[candidates] * drawn
