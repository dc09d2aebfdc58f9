"""Which files hold a log, and which of their columns: known before a record of it is read."""

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from recalign.data.readers import csv_files, json_lines, parquet_files, sequences, tsv_files
from recalign.data.readers.builders import InteractionCollector
from recalign.data.readers.columns import LOG_ROLES, REVIEW_ROLES, ROLES, resolve_columns
from recalign.data.readers.layouts import LAYOUTS, Layout, published_log
from recalign.data.readers.lines import Span
from recalign.data.readers.tally import FileReport, Tally, file_report
from recalign.errors import UserError


class Table(Protocol):
    """A module, or an object like one, that reads one kind of table."""

    UNIT: str
    OPEN: bool

    def column_names(self, path: str) -> list[str]:
        """The table's columns."""

    def rows(
        self, path: str, names: Sequence[str | None], tally: Tally, span: Span | None = None
    ) -> Iterator[tuple[int, tuple]]:
        """(number from 1, values of the named columns, None for None) of every good record."""


TABLES: dict[str, Table] = {
    "csv": csv_files,
    "tsv": tsv_files,
    "jsonl": json_lines,
    "parquet": parquet_files,
}

FORMATS = ("sequences", *TABLES, *LAYOUTS)

_ENDINGS: dict[str, Table] = {
    ".csv": csv_files,
    ".tsv": tsv_files,
    ".jsonl": json_lines,
    ".json": json_lines,
    ".parquet": parquet_files,
}


@dataclasses.dataclass(frozen=True)
class Source:
    """A table to read: what reads it, and role -> column as its layout has them and as they were
    given, which counts more."""

    table: Table
    path: str
    layout: Mapping[str, str]
    given: Mapping[str, str]

    def columns(self, roles: Sequence[str], required: Sequence[str]) -> tuple[dict[str, str], bool]:
        """Role -> column, and whether any was guessed; none is where there is a layout."""
        names = self.table.column_names(self.path)
        if not self.layout:
            return resolve_columns(roles, required, names, self.given, self.path)
        if self.table.OPEN:
            names = [*names, *(self.layout[role] for role in self.layout if role not in required)]
        told = {**dict.fromkeys(roles, ""), **self.layout, **self.given}
        return resolve_columns(roles, required, names, told, self.path)


@dataclasses.dataclass(frozen=True)
class LogFiles:
    """A log and, where there is one, its items file.

    Attributes:
        format: one of `FORMATS`.
        log_path, item_path: the files.
        layout: of a published log.
        given: role -> column, as the user named them.
    """

    format: str
    log_path: str
    item_path: str | None
    layout: Layout | None
    given: Mapping[str, str]

    @property
    def log_table(self) -> Table | None:
        """What reads the log; None for sequences, which are no table."""
        if self.layout is not None:
            return self.layout.log_table
        return TABLES.get(self.format)


@dataclasses.dataclass(frozen=True)
class LogReader:
    """Reads a log, whole or a span of it, into whatever collects its interactions.

    Attributes:
        path: the file.
        table: what reads it; None for sequences.
        columns: role -> column, of the roles that the log has.
        guessed: whether a column was guessed from its name.
    """

    path: str
    table: Table | None
    columns: Mapping[str, str]
    guessed: bool

    @property
    def has(self) -> dict[str, bool]:
        """The columns that the log has, as `InteractionCollector` takes them."""
        return {f"has_{role}": role in self.columns for role in ("time", "rating", *REVIEW_ROLES)}

    def tally(self) -> Tally:
        """A tally of the file, at nothing."""
        return Tally(self.path, self.table.UNIT if self.table else "line")

    def feed(
        self, collector: InteractionCollector, tally: Tally, span: Span | None = None
    ) -> Iterator[int]:
        """Adds the interactions; yields the number of each line once it is added."""
        if self.table is None:
            yield from sequences.read_sequences(self.path, collector, tally, span)
            return
        columns = [self.columns.get(role) for role in (*LOG_ROLES, *REVIEW_ROLES)]
        for number, values in self.table.rows(self.path, columns, tally, span):
            collector.add(number, *values)
            yield number

    def report(self, tally: Tally) -> FileReport:
        """What reading the whole file gave."""
        notes = ["no time column: the order of the file is taken for it"]
        return file_report(
            tally,
            columns=dict(self.columns),
            guessed=self.guessed,
            notes=() if self.table is None or "time" in self.columns else tuple(notes),
        )


def find_log(
    format: str,
    interactions_path: str | os.PathLike,
    items_path: str | os.PathLike | None,
    columns: Mapping[str, str],
) -> LogFiles:
    """The files of a log.

    Raises:
        UserError: an unknown format or role, or a published folder that lacks its file.
    """
    if format not in FORMATS:
        raise UserError(f"--format {format!r} is none of {', '.join(FORMATS)}")
    for role in columns:
        if role not in ROLES:
            raise UserError(f"no role {role!r} for a column: the roles are {', '.join(ROLES)}")
    if columns and format == "sequences":
        raise UserError("--format sequences has no columns to name")
    log_path = os.fspath(interactions_path)
    item_path = None if items_path is None else os.fspath(items_path)
    layout = None
    if format in LAYOUTS:
        layout, log_path, item_path = published_log(format, log_path, item_path)
    return LogFiles(format, log_path, item_path, layout, columns)


def log_reader(files: LogFiles, review_texts: bool) -> LogReader:
    """What reads the log, once its columns are found.

    Raises:
        UserError: columns that cannot be found, or review texts asked for that are not there.
    """
    table = files.log_table
    found: dict[str, str] = {}
    guessed = False
    if table is not None:
        layout = files.layout.log_columns if files.layout else {}
        roles = (*LOG_ROLES, *REVIEW_ROLES) if review_texts else LOG_ROLES
        source = Source(table, files.log_path, layout, files.given)
        found, guessed = source.columns(roles, ("user", "item"))
    if review_texts and "review" not in found:
        raise UserError(
            f"{files.log_path}: --review_texts: no column of review texts: name it with"
            " --review_column, or leave the flag out"
        )
    return LogReader(files.log_path, table, found, guessed)


def item_source(files: LogFiles, log_columns: Mapping[str, str]) -> Source | None:
    """The table of the items, where there is one; the log itself where it holds their titles."""
    if files.log_table is None:
        return None
    if files.layout is not None and files.item_path is not None:
        layout = files.layout
        return Source(layout.item_table, files.item_path, layout.item_columns, files.given)
    if files.item_path is not None:
        ending = os.path.splitext(files.item_path.removesuffix(".gz"))[1].lower()
        return Source(
            _ENDINGS.get(ending) or TABLES[files.format], files.item_path, {}, files.given
        )
    if files.given.get("title"):
        # The log's own records hold the titles; no other text of them is taken for the item's.
        nothing = dict.fromkeys(set(ROLES) - set(LOG_ROLES), "")
        of_item = {**nothing, **files.given, "item": log_columns["item"]}
        return Source(files.log_table, files.log_path, {}, of_item)
    return None
