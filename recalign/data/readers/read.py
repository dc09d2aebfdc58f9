"""One entry to every reader."""

import dataclasses
import os
from collections.abc import Mapping
from types import ModuleType

from recalign.data.interactions import Interactions, ItemTable
from recalign.data.readers import csv_files, json_lines, parquet_files, sequences, tsv_files
from recalign.data.readers.builders import ItemBuilder, LogBuilder
from recalign.data.readers.columns import ITEM_ROLES, LOG_ROLES, ROLES, resolve_columns
from recalign.data.readers.layouts import LAYOUTS, published_files
from recalign.data.readers.tally import (
    DEFAULT_MAX_BAD_FRACTION,
    FileReport,
    ReadReport,
    Tally,
    file_report,
)
from recalign.errors import UserError

TABLES = {"csv": csv_files, "tsv": tsv_files, "jsonl": json_lines, "parquet": parquet_files}

FORMATS = ("sequences", *TABLES, *LAYOUTS)

_ENDINGS = {
    ".csv": csv_files,
    ".tsv": tsv_files,
    ".jsonl": json_lines,
    ".json": json_lines,
    ".parquet": parquet_files,
}

_UNTITLED = "no items file: items are named by their raw ids; give --items"


def read_log(
    format: str,
    interactions_path: str | os.PathLike,
    items_path: str | os.PathLike | None = None,
    columns: Mapping[str, str] | None = None,
    max_bad_fraction: float = DEFAULT_MAX_BAD_FRACTION,
) -> tuple[Interactions, ItemTable, ReadReport]:
    """Reads a raw log and what is known of its items.

    Args:
        format: one of `FORMATS`.
        interactions_path: the log; plain or gzipped, local or gs://. For MovieLens the published
            folder will do.
        items_path: the items; for tables of another kind than the log its name must end in .csv,
            .tsv, .jsonl, .json or .parquet (and .gz). Without it items have no titles, except in
            tables whose title column is given in `columns`.
        columns: role (`columns.ROLES`) -> column, for tables; "" says that there is none. What is
            not given is guessed from names; the report says what.
        max_bad_fraction: the fraction of lines of a file that may be bad; they are left out,
            counted and sampled in the report.

    Raises:
        UserError: a file that cannot be read, columns that cannot be found, too many bad lines,
            no interactions at all. One line with file, line and value.
    """
    given = _checked(format, columns or {}, max_bad_fraction)
    log_path = os.fspath(interactions_path)
    item_path = None if items_path is None else os.fspath(items_path)
    if format == "sequences":
        return _read_sequences(log_path, item_path, max_bad_fraction)
    layout = LAYOUTS.get(format)
    if layout is not None:
        log_path, item_path = published_files(layout, log_path, item_path)
        log_source = _Source(layout.log_table, log_path, layout.log_columns, given)
    else:
        log_source = _Source(TABLES[format], log_path, {}, given)
    log, log_report = _read_table_log(log_source, max_bad_fraction)
    if layout is not None and item_path is not None:
        item_source = _Source(layout.item_table, item_path, layout.item_columns, given)
    elif item_path is not None:
        item_source = _Source(_table_of(item_path) or TABLES[format], item_path, {}, given)
    elif given.get("title"):
        # The log's own records hold the titles; no other text of them is taken for the item's.
        of_item = {**dict.fromkeys(ITEM_ROLES, ""), **given, "item": log_report.columns["item"]}
        item_source = _Source(log_source.table, log_path, {}, of_item)
    else:
        report = dataclasses.replace(log_report, notes=(*log_report.notes, _UNTITLED))
        return log, _no_items(), ReadReport(report, None)
    items, item_report = _read_table_items(item_source, max_bad_fraction, set(log.item_ids))
    return log, items, ReadReport(log_report, item_report if item_path is not None else None)


@dataclasses.dataclass(frozen=True)
class _Source:
    """A table to read: the module that reads it, and role -> column as its layout has them and as
    they were given, which counts more."""

    table: ModuleType
    path: str
    layout: Mapping[str, str]
    given: Mapping[str, str]

    def columns(
        self, roles: tuple[str, ...], required: tuple[str, ...]
    ) -> tuple[dict[str, str], bool]:
        """Role -> column, and whether any was guessed; none is where there is a layout."""
        names = self.table.column_names(self.path)
        if not self.layout:
            return resolve_columns(roles, required, names, self.given, self.path)
        if self.table.OPEN:
            names = [*names, *(self.layout[role] for role in self.layout if role not in required)]
        told = {**dict.fromkeys(roles, ""), **self.layout, **self.given}
        return resolve_columns(roles, required, names, told, self.path)


def _checked(format: str, columns: Mapping[str, str], max_bad_fraction: float) -> Mapping[str, str]:
    if format not in FORMATS:
        raise UserError(f"--format {format!r} is none of {', '.join(FORMATS)}")
    if not 0 <= max_bad_fraction < 1:
        raise UserError(f"--max_bad_fraction {max_bad_fraction}: 0 or more and below 1")
    for role in columns:
        if role not in ROLES:
            raise UserError(f"no role {role!r} for a column: the roles are {', '.join(ROLES)}")
    if columns and format == "sequences":
        raise UserError("--format sequences has no columns to name")
    return columns


def _table_of(path: str | None) -> ModuleType | None:
    if path is None:
        return None
    return _ENDINGS.get(os.path.splitext(path.removesuffix(".gz"))[1].lower())


def _no_items() -> ItemTable:
    return ItemTable([], [], [], [], [], [])


def _read_sequences(
    log_path: str, item_path: str | None, max_bad_fraction: float
) -> tuple[Interactions, ItemTable, ReadReport]:
    tally = Tally(log_path)
    builder = LogBuilder(tally, has_time=False, has_rating=False)
    sequences.read_sequences(log_path, builder, tally)
    log = builder.build()
    tally.check(max_bad_fraction)
    if item_path is None:
        report = file_report(tally, notes=(_UNTITLED,))
        return log, _no_items(), ReadReport(report, None)
    item_tally = Tally(item_path)
    items = ItemBuilder(item_tally, set(log.item_ids))
    sequences.read_titles(item_path, items, item_tally)
    item_tally.check(max_bad_fraction)
    table, notes = items.build()
    return log, table, ReadReport(file_report(tally), file_report(item_tally, notes=notes))


def _read_table_log(source: _Source, max_bad_fraction: float) -> tuple[Interactions, FileReport]:
    tally = Tally(source.path, source.table.UNIT)
    found, guessed = source.columns(LOG_ROLES, ("user", "item"))
    builder = LogBuilder(tally, has_time="time" in found, has_rating="rating" in found)
    columns = [found.get(role) for role in LOG_ROLES]
    for number, values in source.table.rows(source.path, columns, tally):
        builder.add(number, *values)
    log = builder.build()
    tally.check(max_bad_fraction)
    notes = () if "time" in found else ("no time column: the order of the file is taken for it",)
    return log, file_report(tally, columns=found, guessed=guessed, notes=notes)


def _read_table_items(
    source: _Source, max_bad_fraction: float, wanted: set[str]
) -> tuple[ItemTable, FileReport]:
    tally = Tally(source.path, source.table.UNIT)
    if source.given.get("item", "") not in ("", *source.table.column_names(source.path)):
        # The log's name of the item column need not be the items file's.
        others = {role: name for role, name in source.given.items() if role != "item"}
        source = dataclasses.replace(source, given=others)
    found, guessed = source.columns(ITEM_ROLES, ("item",))
    builder = ItemBuilder(tally, wanted)
    columns = [found.get(role) for role in ITEM_ROLES]
    for number, values in source.table.rows(source.path, columns, tally):
        builder.add(number, *values)
    tally.check(max_bad_fraction)
    items, notes = builder.build()
    return items, file_report(tally, columns=found, guessed=guessed, notes=notes)
