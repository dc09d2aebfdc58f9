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
_MOST_TOKENS = 2**31 - 1


def _words(value: Any) -> bool:
    """A brace would stand for a field of a prompt."""
    return isinstance(value, str) and not {"{", "}"} & set(value)


def _shard(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and _COUNT(value[0]) and text(value[1])


def _shards(value: Any) -> bool:
    return list_of(_shard)(value) and value != []


def _cuts(value: Any) -> bool:
    return list_of(number(), [2])(value) and value[0] < value[1]


def _semantic_ids(value: Any) -> bool:
    return object_of(_OF_SEMANTIC_IDS)(value) and (
        (value["prefix_purity"] is None) == (value["chance_purity"] is None)
    )


def _item_tokens(value: Any) -> bool:
    return object_of(_OF_ITEM_TOKENS)(value) and value.keys() == _OF_ITEM_TOKENS.keys()


def _ratings(value: Any) -> bool:
    return (
        object_of(_OF_RATINGS)(value)
        and value["minimum"] <= value["maximum"]
        and max(value["zeros"], value["likes"]) <= value["number"]
    )


def _files(value: Any) -> bool:
    return map_of(text)(value) and CATALOGUE_FILE in value


_COUNT = whole(0)
_SHARE = number(0, 1)
_SHARES = list_of(_SHARE)

_OF_SEMANTIC_IDS: Mapping[str, Check] = {
    "embed": text,
    "codebook_size": whole(1),
    "collision_rate": _SHARE,
    "codebook_use": _SHARES,
    "prefix_purity": or_null(_SHARES),
    "chance_purity": or_null(_SHARES),
}
_OF_ITEM_TOKENS: Mapping[str, Check] = {
    "first": whole(1, _MOST_TOKENS),
    "count": whole(1, _MOST_TOKENS),
}
_OF_RATINGS: Mapping[str, Check] = {
    "number": whole(1),
    "minimum": number(),
    "maximum": number(),
    "zeros": _COUNT,
    "likes": _COUNT,
    "whole": flag,
    "threshold": number(),
}
FIELDS: Mapping[str, Check] = {
    "name": text,
    "version": text,
    "seed": whole(0, MOST_SEED),
    "k_core": _COUNT,
    "item_ids": one_of(*METHODS),
    "semantic_ids": or_null(_semantic_ids),
    "item_tokens": or_null(_item_tokens),
    "base_vocabulary": or_null(text),
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
    "cuts": or_null(_cuts),
    "ratings": or_null(_ratings),
    "wording": object_of({"noun": _words, "verb": list_of(_words, [0, 2])}),
    "sources": list_of(lambda value: True),
    "notes": list_of(lambda value: isinstance(value, str)),
    "fingerprint": text,
    "shards": object_of(dict.fromkeys(SPLITS, _shards)),
    "files": _files,
}


def fault_of(info: Mapping[str, Any]) -> str | None:
    """What in a whole dataset.json cannot be of a dataset; None where all can."""
    if (name := first_fault(info, FIELDS)) is not None:
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
