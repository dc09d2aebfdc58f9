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
    """A raw log, columnar: the i-th interaction is (user[i], item[i], timestamp[i], rating[i]).

    Attributes:
        user_ids: raw ids of the users, distinct, in order of first appearance in the log.
        item_ids: raw ids of the items, distinct, in order of first appearance in the log.
        user: int32 [n], an index into `user_ids` for each interaction, in the order of the file.
        item: int32 [n], an index into `item_ids`.
        timestamp: float64 [n], seconds or any other unit; None where file order is time order.
        rating: float32 [n]; None where the log has no ratings.
        review_text: large_string [n], clean, "" where the user wrote none; None where the log has
            no such column or it was not asked for.
        summary: large_string [n], the review's own title, "" where there is none; None together
            with `review_text`.

    Raises:
        ValueError: columns of different lengths (a reader's fault, not a user's).
    """

    user_ids: list[str]
    item_ids: list[str]
    user: Int32[np.ndarray, " n"]
    item: Int32[np.ndarray, " n"]
    timestamp: Float64[np.ndarray, " n"] | None = None
    rating: Float32[np.ndarray, " n"] | None = None
    review_text: pa.ChunkedArray | None = None
    summary: pa.ChunkedArray | None = None

    def __post_init__(self) -> None:
        _check_lengths(self, "user", "item", "timestamp", "rating", "review_text", "summary")

    def __len__(self) -> int:
        return len(self.user)


@dataclasses.dataclass(frozen=True)
class ItemTable:
    """What is known of the items, a list a column, all aligned with `raw_ids`.

    An item of the log that is absent here, or whose title is empty, gets a title from what else is
    known of it; an item that no user of the log touched is left out of the catalogue.

    Attributes:
        raw_ids: the ids that the log uses.
        titles, brands, prices, descriptions: plain text, "" where unknown; a price as it is shown.
        categories: from the general to the special, [] where unknown.

    Raises:
        ValueError: columns of different lengths (a reader's fault, not a user's).
    """

    raw_ids: list[str]
    titles: list[str]
    brands: list[str]
    prices: list[str]
    descriptions: list[str]
    categories: list[list[str]]

    def __post_init__(self) -> None:
        _check_lengths(self, "raw_ids", "titles", "brands", "prices", "descriptions", "categories")

    @classmethod
    def of_titles(cls, raw_ids: list[str], titles: list[str]) -> "ItemTable":
        """A table of titles alone."""
        empty = [""] * len(raw_ids)
        return cls(raw_ids, titles, empty, empty, empty, [[] for _ in raw_ids])

    def __len__(self) -> int:
        return len(self.raw_ids)
