"""The transition graph: what is bought soon after what a user has bought, without any training.

An edge's weight is the sum of 1 / distance over the times that one item stands before the other in
a training part, at most `span` apart, and `backward` times that in the other direction. A link is
the edge divided by powers of both items' degrees (the weight that leaves them), so that popular
items neither speak nor are named too often. Our own rule; its family is the Markov chains of
sequential recommendation (Rendle et al., 2010, factorise one).
"""

import numpy as np
import scipy.sparse as sp

from recalign.baselines.drivers.exchange import Parts
from recalign.baselines.item_to_item import ItemToItem, Rule, Settings


def fit(train: Parts, num_items: int, settings: Settings) -> ItemToItem:
    """The links between items of the training parts.

    `settings`: `span`, `backward`, `decay` (`ItemToItem`), `from_power` and `to_power`: the powers
    of the degrees of the history's item and of the candidate.
    """
    users, items = train.users(), train.items
    edges = sp.csr_array((num_items, num_items), dtype=np.float64)
    for distance in range(1, int(settings["span"]) + 1):
        together = users[:-distance] == users[distance:]
        ends = items[:-distance][together], items[distance:][together]
        weight = np.full(len(ends[0]), 1.0 / distance)
        edges = edges + sp.csr_array((weight, ends), edges.shape)
    edges = edges + settings["backward"] * edges.T
    degrees = np.asarray(edges.sum(axis=1)).ravel()

    def scale(power: float) -> sp.dia_array:
        return sp.diags_array(np.where(degrees > 0, np.maximum(degrees, 1e-12) ** -power, 1.0))

    links = scale(settings["from_power"]) @ edges @ scale(settings["to_power"])
    return ItemToItem(sp.csr_array(links), settings["decay"])


RULE = Rule(
    fit,
    start={"span": 3, "backward": 0.5, "decay": 0.7, "from_power": 0.0, "to_power": 0.3},
    choices={
        "backward": (0.0, 0.25, 0.5, 1.0),
        "to_power": (0.0, 0.15, 0.3, 0.5),
        "from_power": (0.0, 0.15, 0.3, 0.5),
        "span": (1, 2, 3, 5, 8),
        "decay": (0.1, 0.3, 0.5, 0.7, 0.9),
    },
)
