"""The catalogue: what is known of every item, in index order, as Parquet beside the sequences."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from etils import epath
from jaxtyping import Int64

from recalign.data.ids import item_id
from recalign.data.interactions import ItemTable
from recalign.data.text import MAXIMUM_DESCRIPTION, MAXIMUM_TITLE, clean_text, shorten
from recalign.errors import UserError, shown

FILE_NAME = "items.parquet"

SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "raw_id", "title", "brand", "price")),
        ("categories", pa.list_(pa.string())),
        ("description", pa.string()),
        ("train_count", pa.int64()),
    ]
)


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """The N items of a prepared dataset; the position in every column is the catalogue index."""

    ids: tuple[str, ...]  # short ids, as prompts and answers show them
    titles: tuple[str, ...]  # clean text, never empty
    raw_ids: tuple[str, ...]  # of the raw log
    train_counts: Int64[np.ndarray, " items"]  # occurrences in the training parts
    table: pa.Table  # every column of `SCHEMA`

    @classmethod
    def of_table(cls, table: pa.Table) -> "Catalogue":
        """The catalogue that a table with the columns of `SCHEMA` holds."""
        return cls(
            ids=tuple(table["id"].to_pylist()),
            titles=tuple(table["title"].to_pylist()),
            raw_ids=tuple(table["raw_id"].to_pylist()),
            train_counts=table["train_count"].to_numpy(),
            table=table,
        )

    def with_ids(self, ids: Sequence[str]) -> "Catalogue":
        """The same items under other short ids, in index order."""
        return self.with_columns(id=ids)

    def with_columns(self, **columns: Sequence[Any]) -> "Catalogue":
        """The same items with other values of some columns, in index order."""
        arrays = {name: pa.array(list(it), SCHEMA.field(name).type) for name, it in columns.items()}
        rest = {name: self.table[name] for name in SCHEMA.names}
        return Catalogue.of_table(pa.table(rest | arrays, schema=SCHEMA))

    def __len__(self) -> int:
        return len(self.ids)

    @functools.cached_property
    def indices(self) -> dict[str, int]:
        """The catalogue index by short id."""
        return {id_: index for index, id_ in enumerate(self.ids)}

    @property
    def ambiguous(self) -> list[str]:
        """Short ids of one item that are raw ids of another."""
        indices = self.indices
        return [raw for n, raw in enumerate(self.raw_ids) if indices.get(raw, n) != n]

    def index_of(self, id_: str) -> int:
        """The catalogue index of a short id; a UserError where no item has it."""
        index = self.indices.get(id_)
        if index is None:
            raise UserError(
                f"no item has the id {shown(id_)}: the catalogue's {len(self)} ids are"
                f" {self.ids[0]!r} to {self.ids[-1]!r}"
            )
        return index


def build_catalogue(
    raw_ids: list[str], items: ItemTable, train_counts: Int64[np.ndarray, " items"]
) -> tuple[Catalogue, list[str]]:
    """The catalogue of the items in index order, and notes on missing and shortened texts.

    All text is cleaned (`clean_text`). An item without a title is called by its brand and most
    special category where they are known, else by its raw id.

    Args:
        raw_ids: the items in index order.
        items: what is known of them, in any order; of repeated ids the first counts.
        train_counts: in index order.
    """
    known: dict[str, int] = {}
    for position, raw_id in enumerate(items.raw_ids):
        known.setdefault(raw_id, position)
    positions = [known.get(raw_id) for raw_id in raw_ids]

    def column(values: list, empty: object) -> list:
        return [empty if position is None else values[position] for position in positions]

    brands = [clean_text(brand) for brand in column(items.brands, "")]
    categories = [
        list(filter(None, map(clean_text, names))) for names in column(items.categories, [])
    ]
    titles = [clean_text(title) for title in column(items.titles, "")]
    descriptions = [clean_text(text) for text in column(items.descriptions, "")]
    notes = _notes(titles, descriptions)
    titles = [
        shorten(title, MAXIMUM_TITLE) or _title_from_the_rest(clean_text(raw_id), brand, names)
        for raw_id, title, brand, names in zip(raw_ids, titles, brands, categories, strict=True)
    ]
    table = pa.table(
        {
            "id": [item_id(index) for index in range(len(raw_ids))],
            "raw_id": raw_ids,
            "title": titles,
            "brand": brands,
            "price": [clean_text(price) for price in column(items.prices, "")],
            "categories": categories,
            "description": [shorten(text, MAXIMUM_DESCRIPTION) for text in descriptions],
            "train_count": np.asarray(train_counts, np.int64),
        },
        schema=SCHEMA,
    )
    return Catalogue.of_table(table), notes


def _notes(titles: list[str], descriptions: list[str]) -> list[str]:
    notes = []
    if untitled := sum(not title for title in titles):
        notes.append(
            f"{untitled:,} of {len(titles):,} items have no title: named by brand and category,"
            " or by raw id"
        )
    for what, texts, maximum in (
        ("titles", titles, MAXIMUM_TITLE),
        ("descriptions", descriptions, MAXIMUM_DESCRIPTION),
    ):
        if longer := sum(len(text) > maximum for text in texts):
            notes.append(f"{longer:,} {what} cut to {maximum:,} characters")
    return notes


def _title_from_the_rest(raw_id: str, brand: str, categories: list[str]) -> str:
    """Brand and most special category where they are known, else the raw id.

    >>> _title_from_the_rest("B0001", "Lego", ["Toys", "Bricks"])
    'Lego Bricks'
    """
    return " ".join(filter(None, [brand, categories[-1] if categories else ""])) or raw_id


def write_catalogue(catalogue: Catalogue, directory: epath.Path) -> None:
    """Writes `items.parquet`."""
    with (directory / FILE_NAME).open("wb") as file:
        pq.write_table(catalogue.table, file)


def read_catalogue(content: bytes, name: str) -> Catalogue:
    """Reads the content of `items.parquet`; `name` is the file's, for messages."""
    try:
        table = pq.read_table(pa.BufferReader(content), schema=SCHEMA)
        fault = _fault(table)
        if fault is None:
            return Catalogue.of_table(table)
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        fault = str(error).splitlines()[0]
    raise UserError(f"{name}: not a catalogue ({fault}): prepare the dataset again")


def _fault(table: pa.Table) -> str | None:
    """What is wrong with a catalogue's content."""
    if not len(table):
        return "no item"
    for name in SCHEMA.names:
        if table[name].null_count:
            return f"{name} is missing in {table[name].null_count:,} of {len(table):,} items"
    for name in ("id", "raw_id"):
        if len(pc.unique(table[name])) < len(table):
            return f"items share an {name}"
    for name, what in (("id", "an id"), ("title", "a title")):
        if pc.any(pc.equal(table[name], "")).as_py():
            return f"{what} is empty"
    return None if pc.min(table["train_count"]).as_py() >= 0 else "a train_count is negative"
