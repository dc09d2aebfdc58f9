"""What every reader gives and `prepare` takes: a log of interactions and a table of items."""

import dataclasses

import numpy as np
import pyarrow as pa
from jaxtyping import Float32, Float64, Int32


def _check_lengths(table: object, first: str, *others: str) -> None:
    length = len(getattr(table, first))
    for name in others:
        column = getattr(table, name)
        if column is not None and len(column) != length:
            raise ValueError(f"{name} has {len(column)} values, {first} has {length}")


@dataclasses.dataclass(frozen=True)
class Interactions:
    """A raw log, columnar: the i-th interaction is (user[i], item[i], timestamp[i], rating[i]), in
    the order of the file.

    `user_ids` and `item_ids` are raw ids, distinct, in order of first appearance. The texts are
    large_string [n], clean, "" where the user wrote none; both None where the log has none, or they
    were not asked for. Columns of different lengths are a ValueError, since a reader's fault.
    """

    user_ids: list[str]
    item_ids: list[str]
    user: Int32[np.ndarray, " n"]  # an index into `user_ids`
    item: Int32[np.ndarray, " n"]
    timestamp: Float64[np.ndarray, " n"] | None = None  # any unit; None: file order is time order
    rating: Float32[np.ndarray, " n"] | None = None
    review_text: pa.ChunkedArray | None = None
    summary: pa.ChunkedArray | None = None  # the review's own title

    def __post_init__(self) -> None:
        _check_lengths(self, "user", "item", "timestamp", "rating", "review_text", "summary")

    def __len__(self) -> int:
        return len(self.user)


@dataclasses.dataclass(frozen=True)
class ItemTable:
    """What is known of the items, a list a column, all aligned with `raw_ids`.

    An item of the log that is absent here, or whose title is empty, gets a title from what else is
    known of it; an item that no user of the log touched is left out of the catalogue. Texts are
    plain, "" where unknown. Columns of different lengths are a ValueError, as of `Interactions`.
    """

    raw_ids: list[str]  # the ids that the log uses
    titles: list[str]
    brands: list[str]
    prices: list[str]  # as they are shown
    descriptions: list[str]
    categories: list[list[str]]  # from the general to the special, [] where unknown

    def __post_init__(self) -> None:
        _check_lengths(self, "raw_ids", "titles", "brands", "prices", "descriptions", "categories")

    @classmethod
    def of_titles(cls, raw_ids: list[str], titles: list[str]) -> "ItemTable":
        """A table of titles alone."""
        empty = [""] * len(raw_ids)
        return cls(raw_ids, titles, empty, empty, empty, [[] for _ in raw_ids])

    def __len__(self) -> int:
        return len(self.raw_ids)
