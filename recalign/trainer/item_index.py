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


class Query(NamedTuple):
    """A request that was understood: items are their numbers in the catalogue.

    Attributes:
      history: all items, the oldest first.
      left_out: items that are not to be answered, the history's among them.
      allowed: bool [N], the items to choose from; None for the whole catalogue.
      wanted: how many items there will be.
      row: the user's number in the dataset, or NOBODY.
    """

    history: Sequence[int]
    left_out: Int[np.ndarray, " m"]
    allowed: Bool[np.ndarray, " N"] | None
    wanted: int
    row: int = NOBODY


class ItemIndex:
    """The items of a catalogue by their IDs.

    Attributes:
      of_raw_id: the number of each item, by the raw log's ID.
    """

    def __init__(self, catalogue: Catalogue):
        self._catalogue = catalogue
        self.of_raw_id = {raw: number for number, raw in enumerate(catalogue.raw_ids)}

    def find(self, item: str) -> int | None:
        """The item of a log: by the raw ID, else by the catalogue's; None where there is none."""
        return self.of_raw_id.get(item, self._catalogue.indices.get(item))

    def index(self, item: str, where: str) -> int:
        """The item that an ID can only mean: the catalogue's (`id:I3`) or the log's (`raw:I3`).

        Args:
          item: an ID.
          where: it stands, for messages.

        Raises:
          UserError: no item has it, or two.
        """
        by_id, by_raw = self._catalogue.indices, self.of_raw_id
        found = {by_id.get(item), by_raw.get(item)}
        for prefix, indices in (("id:", by_id), ("raw:", by_raw)):
            if item.startswith(prefix):
                found.add(indices.get(item.removeprefix(prefix)))
        meant = {number for number in found if number is not None}
        if len(meant) > 1:
            raise UserError(
                f"{where}: {item!r} is the ID of one item in the catalogue and of another in the "
                f"log: say id:{item} or raw:{item}"
            )
        for index in meant:
            return index
        try:
            return self._catalogue.index_of(item)
        except UserError as error:
            raise UserError(f"{where}: {error}, and the log has no such item") from error

    def subset(self, ids: Sequence[str]) -> Bool[np.ndarray, " N"]:
        """The items to choose from, as `only` of `Recommender.query`.

        Raises:
          UserError: an ID that no item has, or none at all.
        """
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
