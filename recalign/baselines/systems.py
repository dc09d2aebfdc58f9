"""The systems by name: whose implementation, what it is measured on, its settings.

docs/baselines.md says of each where it comes from and how it differs from its paper.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from recalign.errors import UserError

ITEMS = ("retrieval", "ranking")
"""What a system that scores items is measured on."""

RATINGS = ("rating",)

REFERENCES = ("popularity", "optimum")
"""Systems with nothing to fit: references.py has them."""

DEFAULTS = ("popularity", "optimum", "graph", "knn", "history")
"""What is measured where nobody says which: minutes, and no other environment."""


@dataclasses.dataclass(frozen=True)
class System:
    """A row."""

    library: str  # "RecBole", "Cornac" or "recalign"
    model: str  # the library's name of it
    kinds: tuple[str, ...]  # of tasks
    epochs: int = 0  # the most it trains; the validation users stop it earlier. 0: nothing to train
    # What is not the library's default.
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)


# The loss of these runs over all items, so that no negatives are drawn. Batches of 256 are those of
# S3-Rec's authors, whose figures the paper takes over; RecBole's 2048 learn as well in many more
# epochs.
_OVER_ALL_ITEMS = {"train_neg_sample_args": None, "train_batch_size": 256}

SYSTEMS: Mapping[str, System] = {
    "popularity": System("recalign", "popularity", (*ITEMS, *RATINGS)),
    "optimum": System("recalign", "optimum", (*ITEMS, *RATINGS)),
    "graph": System("recalign", "graph", ITEMS),
    "knn": System("recalign", "knn", ITEMS),
    "caser": System("RecBole", "Caser", ITEMS, 50, _OVER_ALL_ITEMS),
    "hgn": System("RecBole", "HGN", ITEMS, 50, _OVER_ALL_ITEMS),
    "gru4rec": System("RecBole", "GRU4Rec", ITEMS, 50, _OVER_ALL_ITEMS),
    "bert4rec": System("RecBole", "BERT4Rec", ITEMS, 50, _OVER_ALL_ITEMS),
    "fdsa": System("RecBole", "FDSA", ITEMS, 50, _OVER_ALL_ITEMS),
    "sasrec": System("RecBole", "SASRec", ITEMS, 50, _OVER_ALL_ITEMS),
    "s3rec": System("RecBole", "S3Rec", ITEMS, 50, {**_OVER_ALL_ITEMS, "pretrain_epochs": 50}),
    "itemknn": System("RecBole", "ItemKNN", ITEMS),
    "bprmf": System(
        "Cornac", "BPR", ITEMS, 500, {"k": 64, "learning_rate": 0.05, "lambda_reg": 0.01}
    ),
    "bprmlp": System("recalign", "bprmlp", ITEMS, 100, {
        "vector": 64, "hidden": (64, 32), "learning_rate": 1e-3, "l2": 1e-4, "batch": 1024}),
    "simplex": System("RecBole", "SimpleX", ITEMS, 100, {"train_neg_sample_args": {
        "distribution": "uniform", "sample_num": 50, "alpha": 1.0, "dynamic": False,
        "candidate_num": 0}}),
    "history": System("recalign", "history", RATINGS),
    "dmf": System("RecBole", "DMF", RATINGS, 300),
    "widedeep": System("RecBole", "WideDeep", RATINGS, 300),
}  # fmt: skip


def resolve(names: Sequence[str], kinds: Sequence[str], has_law: bool, dataset: str) -> list[str]:
    """The systems that are meant, `all` spelled out as all that the dataset can have.

    Without names they are the defaults that the dataset has something for; `kinds` are its tasks',
    and `has_law` says whether its optimum is known. Another name is refused.
    """

    def lack(name: str) -> str:
        if name == "optimum" and not has_law:
            return "is known of synthetic corpora alone"
        if not set(SYSTEMS[name].kinds) & set(kinds):
            return f"predicts ratings, which {dataset} does not have"
        return ""

    if not names:
        return [name for name in DEFAULTS if not lack(name)]
    resolved: dict[str, None] = {}
    for name in names:
        if name == "all":
            resolved |= dict.fromkeys(known for known in SYSTEMS if not lack(known))
        elif name not in SYSTEMS:
            raise UserError(f"unknown model {name!r}: known are {', '.join(SYSTEMS)}, and all")
        elif reason := lack(name):
            raise UserError(f"{name} {reason}")
        else:
            resolved[name] = None
    return list(resolved)
