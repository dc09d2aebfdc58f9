"""A request in numbers of the catalogue, and what IDs mean: its own, or the log's."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from etils import epath
from jaxtyping import Bool, Int

from recalign.data import integrity
from recalign.errors import UserError

if TYPE_CHECKING:
    from recalign.data.prepared import Catalogue

NOBODY = -1
"""The row of a user whom the dataset does not know."""
NO_ITEM = -1
"""The number of an item that the catalogue does not know."""


class Query(NamedTuple):
    """A request that was understood: items are their numbers in the catalogue."""

    history: Sequence[int]  # all items, the oldest first
    left_out: Int[np.ndarray, " m"]  # not to be answered, each once; the history's among them
    allowed: Bool[np.ndarray, " N"] | None  # the items to choose from; None for all
    wanted: int  # how many items there will be
    row: int = NOBODY  # the user's number in the dataset

    def mask(self, items: int) -> Bool[np.ndarray, " N"]:
        """bool [N]: the items that may be answered."""
        mask = np.ones(items, bool) if self.allowed is None else self.allowed.copy()
        mask[self.left_out] = False
        return mask


class LogItems(NamedTuple):
    """What a log's IDs of items mean."""

    numbers: Int[np.ndarray, " n"]  # int64, in the catalogue; NO_ITEM for IDs of no item
    unknown: int  # how many IDs no item has
    notices: list[str]  # lines for a person, on IDs that could be of two


class ItemIndex:
    """The items of a catalogue by their IDs; `of_raw_id`: their numbers by the raw log's."""

    def __init__(self, catalogue: Catalogue, ids_alike: bool):
        """`ids_alike`: whether the log's IDs, left-out items' too, look like the catalogue's."""
        self._catalogue, self._ids_alike = catalogue, ids_alike
        self.of_raw_id = {raw: number for number, raw in enumerate(catalogue.raw_ids)}

    def of_log(self, ids: Sequence[str]) -> LogItems:
        """The items that the IDs of a log mean: its own before the catalogue's, if there are both.

        Where IDs of the log look like the catalogue's, one that the catalogue alone has is of no
        item: `prepare` may have left out the log's item of that ID.
        """
        numbers = np.full(len(ids), NO_ITEM, np.int64)
        both, only_short = [], []
        for place, item in enumerate(ids):
            meant = self._meant(item)
            if self._may_be_another(item):
                only_short.append(item)
            elif meant:
                numbers[place] = self.of_raw_id.get(item, min(meant))
                if len(meant) > 1:
                    both.append(item)
        notices = []
        if both:
            notices.append(
                f"{len(both):,} of {len(ids):,} items have an ID that is another item's in the"
                f" catalogue ({both[0]}): the log's are meant (id:… means the catalogue's)"
            )
        if only_short:
            notices.append(
                f"{len(only_short):,} of {len(ids):,} items have an ID of the catalogue that no"
                f" item of the log has which `prepare` kept ({only_short[0]}): left out (id:…"
                " means the catalogue's)"
            )
        unknown = int(np.count_nonzero(numbers == NO_ITEM)) - len(only_short)
        return LogItems(numbers, unknown, notices)

    def index(self, item: str, where: str) -> int:
        """The item that an ID can only mean: the catalogue's (`id:I3`) or the log's (`raw:I3`).

        Refused where no item has it, or two, or the log's item of this ID may have been left out.
        """
        meant = self._meant(item)
        if len(meant) > 1:
            one_or_other = f"id:{item} or raw:{item}"
            if item not in self._catalogue.indices:  # what looks like raw:… is itself an ID
                one_or_other = " or ".join(f"id:{self._catalogue.ids[n]}" for n in sorted(meant))
            raise UserError(
                f"{where}: {item!r} is the ID of one item in the catalogue and of another in the "
                f"log: say {one_or_other}"
            )
        if self._may_be_another(item):
            raise UserError(
                f"{where}: {item!r} is an item's ID in the catalogue, but no item of the log has it"
                f" which `prepare` kept, and IDs of the log look alike: say id:{item}"
            )
        for index in meant:
            return index
        try:
            return self._catalogue.index_of(item)
        except UserError as error:
            raise UserError(f"{where}: {error}, and the log has no such item") from error

    def _meant(self, item: str) -> set[int]:
        """The items that an ID may mean."""
        by_id, by_raw = self._catalogue.indices, self.of_raw_id
        found = {by_id.get(item), by_raw.get(item)}
        for prefix, indices in (("id:", by_id), ("raw:", by_raw)):
            if item.startswith(prefix):
                found.add(indices.get(item.removeprefix(prefix)))
        return {number for number in found if number is not None}

    def _may_be_another(self, item: str) -> bool:
        """Whether only the catalogue has an ID, and a log with IDs that look like it may have had
        it too."""
        return self._ids_alike and item in self._catalogue.indices and item not in self.of_raw_id

    def subset(self, ids: Sequence[str]) -> Bool[np.ndarray, " N"]:
        """The items to choose from, as `only` of `Recommender.query`."""
        if not ids:
            raise UserError("no items to choose from: the list of allowed IDs is empty")
        allowed = np.zeros(len(self._catalogue.ids), bool)
        allowed[[self.index(item, "the allowed IDs") for item in ids]] = True
        return allowed


def read_ids(file: str | os.PathLike) -> list[str]:
    """The IDs of a file that holds one a line."""
    path = epath.Path(file)
    if not path.exists():
        raise UserError(f"{path}: no such file of allowed IDs")
    return [line.strip() for line in integrity.read_text(path).splitlines() if line.strip()]
