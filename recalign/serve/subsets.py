"""Sets of items by name, which a request's `only` may say."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool

from recalign.errors import UserError, shown

if TYPE_CHECKING:
    from recalign.trainer.item_index import ItemIndex


class Subsets:
    """The sets of one server; a change is seen whole or not at all."""

    def __init__(self, items: ItemIndex, given: Mapping[str, Sequence[str]], most_posted: int = 0):
        """`given`: name -> IDs, before the first request; an ID that no item has is refused.

        `most_posted`: how many sets there may be beside these; 0 where requests may change none.
        """
        self._items = items
        self._most = len(given) + most_posted
        self._masks = {name: self._mask(name, ids) for name, ids in given.items()}
        self._lock = threading.Lock()

    def mask(self, name: str) -> Bool[np.ndarray, " N"]:
        """The items of a set, as `only` of `Recommender.query`."""
        masks = self._masks
        if name not in masks:
            known = ", ".join(masks) or "none: --subsets FILE names some"
            raise UserError(f"only: no subset {shown(name)}; there are {known}")
        return masks[name]

    def change(self, changes: Mapping[str, Sequence[str] | None]) -> dict[str, int]:
        """Makes, replaces or (None) removes sets; returns name -> number of items of all.

        Nothing is changed where an ID is no item's, or there would be too many sets.
        """
        masks = {
            name: None if ids is None else self._mask(name, ids) for name, ids in changes.items()
        }
        with self._lock:
            after = {name: mask for name, mask in (self._masks | masks).items() if mask is not None}
            if len(after) > self._most:
                raise UserError(f"{len(after):,} subsets: this server keeps {self._most:,}")
            self._masks = after
        return {name: int(np.count_nonzero(mask)) for name, mask in after.items()}

    def _mask(self, name: str, ids: Sequence[str]) -> Bool[np.ndarray, " N"]:
        try:
            return self._items.subset(ids)
        except UserError as error:
            raise UserError(f"subset {shown(name)}: {error}") from error


def read_subsets(text: str, where: str) -> dict[str, list[str]]:
    """Named sets of IDs of a JSON text: {"in_stock": ["I3", "I17"], …}; else a UserError.

    `where` it stands is for messages.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f'{where}: an object of names and lists of IDs is needed: {{"new": [3]}}')
    for name, ids in found.items():
        if not isinstance(ids, list) or not all(
            isinstance(it, str | int) and not isinstance(it, bool) for it in ids
        ):
            raise UserError(f"{where}: {shown(name)} must be a list of IDs")
    return {name: [str(it) for it in ids] for name, ids in found.items()}
