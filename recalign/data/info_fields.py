"""What every field of a dataset.json may be: a table of field and check.

A digest says that nobody changed the file by accident. These checks say that its figures can be
those of a dataset, whoever wrote it.
"""

import math
from collections.abc import Mapping
from typing import Any

from recalign.data.catalogue import FILE_NAME as CATALOGUE_FILE
from recalign.data.field_checks import (
    Check,
    also,
    first_fault,
    flag,
    list_of,
    map_of,
    number,
    object_of,
    one_of,
    or_null,
    text,
    whole,
)
from recalign.data.ids import METHODS
from recalign.data.semantic_encoder import FILE_NAME as ENCODER_FILE
from recalign.data.splits import SPLITS
from recalign.data.temporal import METHODS as SPLIT_METHODS
from recalign.errors import shown

MOST_SEED = 2**63 - 1


def _words(value: Any) -> bool:
    """A brace would stand for a field of a prompt."""
    return isinstance(value, str) and not {"{", "}"} & set(value)


_COUNT = whole(0)
_SHARE = number(0, 1)
_SHARES = list_of(_SHARE)
_PIECES = whole(1, 2**31 - 1)
_SHARD = also(list_of(lambda value: True, [2]), lambda it: _COUNT(it[0]) and text(it[1]))

_SEMANTIC_IDS = object_of(
    {
        "embed": text,
        "codebook_size": whole(1),
        "collision_rate": _SHARE,
        "codebook_use": _SHARES,
        "prefix_purity": or_null(_SHARES),
        "chance_purity": or_null(_SHARES),
    }
)
_RATINGS = object_of(
    {
        "number": whole(1),
        "minimum": number(),
        "maximum": number(),
        "zeros": _COUNT,
        "likes": _COUNT,
        "whole": flag,
        "threshold": number(),
    }
)
FIELDS: Mapping[str, Check] = {
    "name": text,
    "version": text,
    "seed": whole(0, MOST_SEED),
    "k_core": _COUNT,
    "item_ids": one_of(*METHODS),
    "semantic_ids": or_null(
        also(
            _SEMANTIC_IDS, lambda it: (it["prefix_purity"] is None) == (it["chance_purity"] is None)
        )
    ),
    "item_tokens": or_null(
        also(object_of({"first": _PIECES, "count": _PIECES}), lambda it: len(it) == 2)
    ),
    "base_vocabulary": or_null(text),
    "ids_alike": flag,
    "has_ratings": flag,
    "has_reviews": flag,
    "users": whole(1),
    "items": whole(1),
    "interactions": whole(1),
    "sparsity_percent": number(0, 100),
    "sequence_length_mean": number(1),
    "sequence_length_std": number(0),
    "tied_last_fraction": or_null(_SHARE),
    "ties_sorted_by_item": or_null(flag),
    "trained_later_fraction": or_null(_SHARE),
    "split": one_of(*SPLIT_METHODS),
    "cuts": or_null(also(list_of(number(), [2]), lambda it: it[0] < it[1])),
    "ratings": or_null(
        also(
            _RATINGS,
            lambda it: (
                it["minimum"] <= it["maximum"] and max(it["zeros"], it["likes"]) <= it["number"]
            ),
        )
    ),
    "wording": object_of({"noun": _words, "verb": list_of(_words, [0, 2])}),
    "sources": list_of(lambda value: True),
    "notes": list_of(lambda value: isinstance(value, str)),
    "fingerprint": text,
    "shards": object_of(dict.fromkeys(SPLITS, also(list_of(_SHARD), bool))),
    "files": also(map_of(text), lambda it: CATALOGUE_FILE in it),
}


def fault_of(info: Mapping[str, Any]) -> str | None:
    """What in a whole dataset.json cannot be of a dataset; None where all can."""
    if (name := first_fault(info, FIELDS)) is not None:
        if name not in info:
            return f"it has no {name}: an earlier recalign may have written it"
        return f"{name} is {shown(info.get(name))}"
    users, rows = info["users"], sum(records for records, _ in info["shards"]["train"])
    if users != rows:
        return f"users is {users}, and {rows} are in train"
    mean = info["interactions"] / users
    if not math.isclose(info["sequence_length_mean"], mean, rel_tol=1e-6):
        return (
            f"sequence_length_mean is {info['sequence_length_mean']}, and interactions / users is"
            f" {mean:g}"
        )
    if info["has_ratings"] and info.get("ratings") is None:
        return "has_ratings is true, and ratings is null"
    if ENCODER_FILE in info["files"] and info.get("semantic_ids") is None:
        return f"semantic_ids is null, and there is {ENCODER_FILE}"
    return None
