"""ItemKNN: items that the same users have, by the cosine of their users (Sarwar et al., 2001).

sim(i, j) = users of both / (sqrt(users of i * users of j) + shrinkage); an item is scored by its
nearest neighbours alone. Unlike RecBole's, both numbers are tuned on the validation users, and a
history holds the validation item.
"""

import numpy as np
import scipy.sparse as sp

from recalign.baselines.drivers.exchange import Parts
from recalign.baselines.item_to_item import ItemToItem, Rule, Settings

_BLOCK = 1024
"""Items whose similarities to all others are in memory together."""


def fit(train: Parts, num_items: int, settings: Settings) -> ItemToItem:
    """The links from an item's neighbours to it.

    `settings`: `neighbours`, how many an item is scored by, and `shrinkage`, how far similarities
    of items with few users are drawn towards 0.
    """
    users = np.ones(len(train.items)), (train.users(), train.items)
    bought = sp.csc_array(users, (len(train.splits) - 1, num_items))
    bought.data[:] = 1.0  # an item that was bought twice counts once
    norms = np.sqrt(np.asarray(bought.sum(axis=0)).ravel())
    blocks = [
        _nearest(bought, norms, start, int(settings["neighbours"]), settings["shrinkage"])
        for start in range(0, num_items, _BLOCK)
    ]
    return ItemToItem(sp.csr_array(sp.vstack(blocks).T), decay=1.0)


def _nearest(
    bought: sp.csc_array, norms: np.ndarray, start: int, neighbours: int, shrinkage: float
) -> sp.csr_array:
    """The largest similarities of the items from `start` on, a row an item."""
    both = sp.coo_array(bought[:, start : start + _BLOCK].T @ bought)
    row, item = both.coords
    different = row + start != item
    row, item, both_users = row[different], item[different], both.data[different]
    similar = both_users / (norms[row + start] * norms[item] + shrinkage)
    order = np.lexsort((item, -similar, row))
    first_of_row = np.searchsorted(row[order], row[order])
    kept = order[np.arange(len(order)) - first_of_row < neighbours]
    return sp.csr_array((similar[kept], (row[kept], item[kept])), both.shape)


RULE = Rule(
    fit,
    start={"neighbours": 100, "shrinkage": 0.0},
    choices={"shrinkage": (0.0, 3.0, 10.0, 30.0), "neighbours": (5, 10, 30, 100, 300)},
)
