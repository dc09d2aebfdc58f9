"""Scores by links between items: what a history's items point to.

A rule of `RULES` makes the links from the training parts by a few settings; `tuned` finds the
settings on the validation users, one setting at a time. Nothing is trained, so a new history needs
no new fit.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from recalign.baselines.drivers.exchange import Answer, Parts, Question

Settings = Mapping[str, float]

_BATCH = 512
"""Users whose scores are in memory together."""

_BLOCK = 1024
"""Items whose similarities to all others are in memory together."""

_ROUNDS = 2
"""How often `tuned` goes through all settings; it stops earlier where a round changes nothing."""


@dataclasses.dataclass(frozen=True)
class ItemToItem:
    """score(j) = sum over the history's items i of decay^age(i) * links[i, j]."""

    links: sp.csr_array  # float [N, N], none below 0; row i is what item i points to
    decay: float  # weight of an item against the one bought after it; the newest has age 0

    def scores(self, histories: Sequence[Int[np.ndarray, "*"]]) -> sp.csr_array:
        """The scores of all items, float [B, N], for B histories; no link, no entry."""
        lengths = np.array([len(history) for history in histories])
        splits = np.concatenate([[0], np.cumsum(lengths)])
        ages = np.repeat(splits[1:], lengths) - 1 - np.arange(splits[-1])
        items = np.concatenate([np.zeros(0, np.int64), *histories])
        shape = len(histories), self.links.shape[0]
        weights = sp.csr_array((self.decay ** ages.astype(float), items, splits), shape)
        found = sp.csr_array(weights @ self.links)
        found.eliminate_zeros()
        return found

    def ranks(
        self,
        histories: Sequence[np.ndarray],
        targets: Int[np.ndarray, "U"],
        leave_out_seen: bool,
    ) -> Int[np.ndarray, "U"]:
        """0-based rank of each user's target among all items; ties: the lower index first.

        `leave_out_seen` takes the items of a history out of its list, but never a target.
        """
        ranks = [np.zeros(0, np.int64)]
        for start in range(0, len(targets), _BATCH):
            span = slice(start, start + _BATCH)
            scores = self.scores(histories[span])
            seen = histories[span] if leave_out_seen else None
            ranks.append(_sparse_ranks(scores, targets[span], seen))
        return np.concatenate(ranks)

    def pool_scores(
        self, histories: Sequence[np.ndarray], pools: Int[np.ndarray, "P C"]
    ) -> Float[np.ndarray, "P C"]:
        """The scores of each user's candidates."""
        parts = [np.zeros((0, pools.shape[1]))]
        for start in range(0, len(pools), _BATCH):
            span = slice(start, start + _BATCH)
            rows = np.arange(len(pools[span]))[:, np.newaxis]
            parts.append(_at(self.scores(histories[span]), rows, pools[span]))
        return np.concatenate(parts)


@dataclasses.dataclass(frozen=True)
class Rule:
    """A way to link items."""

    # (training parts, number of items, settings) -> the links.
    fit: Callable[[Parts, int, Settings], ItemToItem]
    start: Settings  # that tuning begins with
    choices: Mapping[str, Sequence[float]]  # of each setting the values that are tried


def transition_graph(train: Parts, num_items: int, settings: Settings) -> ItemToItem:
    """What is bought soon after what a user has bought.

    An edge's weight is the sum of 1 / distance over the times that one item stands before the
    other in a training part, at most `span` apart, and `backward` times that in the other
    direction. A link is the edge divided by powers of both items' degrees (the weight that leaves
    them), `from_power` of the history's item and `to_power` of the candidate, so that popular items
    neither speak nor are named too often. Our own rule; its family is the Markov chains of
    sequential recommendation (Rendle et al., 2010, factorise one).

    `settings`: the above, and `decay` of `ItemToItem`.
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


def nearest_neighbours(train: Parts, num_items: int, settings: Settings) -> ItemToItem:
    """ItemKNN: items that the same users have, by the cosine of their users (Sarwar et al., 2001).

    sim(i, j) = users of both / (sqrt(users of i * users of j) + `shrinkage`); an item is scored by
    its nearest `neighbours` alone. Unlike RecBole's, both settings are tuned on the validation
    users, and a history holds the validation item.
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


RULES: Mapping[str, Rule] = {
    "graph": Rule(
        transition_graph,
        start={"span": 3, "backward": 0.5, "decay": 0.7, "from_power": 0.0, "to_power": 0.3},
        choices={
            "backward": (0.0, 0.25, 0.5, 1.0),
            "to_power": (0.0, 0.15, 0.3, 0.5),
            "from_power": (0.0, 0.15, 0.3, 0.5),
            "span": (1, 2, 3, 5, 8),
            "decay": (0.1, 0.3, 0.5, 0.7, 0.9),
        },
    ),
    "knn": Rule(
        nearest_neighbours,
        start={"neighbours": 100, "shrinkage": 0.0},
        choices={"shrinkage": (0.0, 3.0, 10.0, 30.0), "neighbours": (5, 10, 30, 100, 300)},
    ),
}


@dataclasses.dataclass(frozen=True)
class Tuned:
    """What tuning found: the model, its settings, and NDCG@10 of the validation users."""

    model: ItemToItem
    settings: Settings
    validation_ndcg: float


def tuned(
    rule: Rule,
    train: Parts,
    valid_users: Int[np.ndarray, "V"],
    valid_items: Int[np.ndarray, "V"],
    num_items: int,
    say: Callable[[str], None] = lambda line: None,
) -> Tuned:
    """The settings with the best NDCG@10 of the validation users, a setting at a time.

    Items of a user's training part are left out of the list, as for the trained baselines.
    `valid_items` are the items after the training parts of the rows `valid_users` of `train`.
    """
    histories = [train.of(user) for user in valid_users]

    def measured(settings: Settings) -> Tuned:
        model = rule.fit(train, num_items, settings)
        ranks = model.ranks(histories, valid_items, leave_out_seen=True)
        gains = 1.0 / np.log2(ranks[ranks < 10] + 2.0)
        return Tuned(model, dict(settings), float(gains.sum()) / max(len(ranks), 1))

    best = measured(rule.start)
    for _ in range(_ROUNDS):
        before = best.settings
        for name, values in rule.choices.items():
            for value in values:
                if value != best.settings[name]:
                    found = measured({**best.settings, name: value})
                    best = max(best, found, key=lambda it: it.validation_ndcg)
            say(f"  {name} {best.settings[name]:g}: validation NDCG@10 {best.validation_ndcg:.4f}")
        if best.settings == before:
            break
    return best


def answer(question: Question, rule: Rule, say: Callable[[str], None]) -> Answer:
    """Tunes a rule on the validation users and answers with it; histories are whole."""
    valid = question.valid_users, question.valid_items
    found = tuned(rule, question.train, *valid, question.num_items, say)
    ranks = found.model.ranks(
        [question.seen.of(user) for user in question.test_users],
        question.test_items,
        question.leave_out_seen,
    )
    pool_scores = found.model.pool_scores(
        [question.seen.of(user) for user in question.pool_users], question.pools
    )
    about: dict[str, Any] = {**found.settings, "validation_ndcg@10": found.validation_ndcg}
    return Answer(ranks, pool_scores, np.zeros(0), about)


def _sparse_ranks(
    scores: sp.csr_array, targets: np.ndarray, seen: Sequence[np.ndarray] | None
) -> np.ndarray:
    """`exchange.target_ranks` of scores that are mostly 0 and never below."""
    users = np.arange(len(targets))
    of_target = _at(scores, users, targets)

    def ahead(rows: np.ndarray, items: np.ndarray, of_items: np.ndarray) -> np.ndarray:
        first = of_items > of_target[rows]
        first |= (of_items == of_target[rows]) & (items < targets[rows])
        return np.bincount(rows[first], minlength=len(targets))

    rows = np.repeat(users, np.diff(scores.indptr))
    ranks = ahead(rows, scores.indices, scores.data)
    # All items of a lower index tie with a target without a score, but for those that have one.
    lower = scores.indices < targets[rows]
    ties = targets - np.bincount(rows[lower], minlength=len(targets))
    ranks += np.where(of_target == 0, ties, 0)
    if seen is not None:
        items = [np.unique(of_user) for of_user in seen]
        rows = np.repeat(users, [len(of_user) for of_user in items])
        taken_out = np.concatenate([np.zeros(0, np.int64), *items])
        ranks -= ahead(rows, taken_out, _at(scores, rows, taken_out))
    return ranks


def _at(scores: sp.csr_array, rows: np.ndarray, items: np.ndarray) -> np.ndarray:
    """scores[rows, items], rows and items broadcast against each other."""
    rows, items = np.broadcast_arrays(rows, items)
    if not items.size:
        return np.zeros(items.shape)
    return np.asarray(scores[rows.ravel(), items.ravel()]).reshape(items.shape)
