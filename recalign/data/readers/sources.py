"""Which files hold a log, and which of their columns: known before a record of it is read."""

import dataclasses
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from recalign.data.readers.builders import InteractionCollector
from recalign.data.readers.columns import (
    EVENT,
    LOG_ROLES,
    REVIEW_ROLES,
    ROLES,
    resolve_columns,
)
from recalign.data.readers.delimited import Csv, Tsv
from recalign.data.readers.file_sets import ending_of, files_of, folder_values, rows_of_file
from recalign.data.readers.joining import check_repair
from recalign.data.readers.layouts import LAYOUTS, Layout, published_log
from recalign.data.readers.lines import Span, check_encoding, is_utf_8_after_all
from recalign.data.readers.objects import JSON
from recalign.data.readers.parquet_files import Parquet
from recalign.data.readers.roles import Events, find_events, find_time
from recalign.data.readers.tables import Table
from recalign.data.readers.tally import NO_TIME, WARNING, Tally
from recalign.data.readers.times import TimeFormat
from recalign.data.readers.values import RatingFormat
from recalign.errors import UserError

TABLES: dict[str, Table] = {"csv": Csv(), "tsv": Tsv(), "jsonl": JSON, "parquet": Parquet()}

FORMATS = tuple(dict.fromkeys(("sequences", *TABLES, *LAYOUTS)))

ENDINGS = {
    **{".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".inter": "tsv", ".item": "tsv"},
    **{".jsonl": "jsonl", ".json": "jsonl", ".ndjson": "jsonl"},
    **{".parquet": "parquet", ".pq": "parquet"},
}
"""How a file's name ends -> its format."""

_LOOKED_AT = 1_000
"""Records whose values tell what a column holds, of so many files."""
_FILES_LOOKED_AT = 10


@dataclasses.dataclass(frozen=True)
class ReadOptions:
    """How a log is read, beside its columns."""

    encoding: str = ""  # of its files of text; "" for UTF-8
    time_format: str = ""  # of its times, as `datetime.strptime` takes it; "" to find out
    events: Sequence[str] = ()  # the kinds of events that count; all where there are none
    has_verb: bool = False  # prompts are given a verb for them
    no_rating: Sequence[str] = ()  # values that stand for none; lines with them are left out
    negative_ratings: bool = False  # ratings below 0 are ratings
    join_ids: str = ""  # one of `joining.REPAIRS`
    review_texts: bool = False  # the users' reviews and their summaries are read, too


@dataclasses.dataclass(frozen=True)
class Source:
    """A table to read: what reads it, and role -> column as its layout has them, as they were
    given, which counts more, and as they are guessed first."""

    table: Table
    path: str  # as it was given; a folder or a pattern stands for several files
    files: Sequence[str]  # of the same columns
    layout: Mapping[str, str]
    given: Mapping[str, str]
    preferred: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def names(self) -> list[str]:
        """The columns of the first file, and what the folders of all files say."""
        told = [folder_values(file, self.path) for file in self.files]
        of_all = [key for key in told[0] if all(key in values for values in told)]
        return list(dict.fromkeys([*self.table.column_names(self.files[0]), *of_all]))

    def columns(self, roles: Sequence[str], required: Sequence[str]) -> tuple[dict[str, str], bool]:
        """Role -> column, and whether any was guessed; none is where there is a layout."""
        names = self.names()
        if not self.layout:
            return resolve_columns(
                roles, required, names, self.given, self.files[0], self.preferred
            )
        if self.table.is_open:
            names = [*names, *(self.layout[role] for role in self.layout if role not in required)]
        told = {**dict.fromkeys(roles, ""), **self.layout, **self.given}
        return resolve_columns(roles, required, names, told, self.files[0])

    def without_item_column(self) -> "Source":
        """The same, with the column of the items still to be found."""
        others = {role: name for role, name in self.given.items() if role != "item"}
        return dataclasses.replace(self, given=others)

    def unused(self, columns: Mapping[str, str]) -> list[str]:
        """The columns of a table of one's own that play no role."""
        used = set(columns.values())
        return [] if self.layout else [n for n in self.names() if n.strip() and n not in used]

    def check_files(self, columns: Mapping[str, str]) -> None:
        """Raises a UserError where a column of the first file is missing in another."""
        for file in self.files[1:]:
            if missing := self._missing(file, columns.values()):
                raise UserError(f"{file}: no column {min(missing)!r}, which {self.files[0]} has")

    def sample(self, names: Sequence[str], most: int = _LOOKED_AT) -> dict[str, list]:
        """The first values of some columns, of several files; None where a file lacks one."""
        files = self.files[:: -(-len(self.files) // _FILES_LOOKED_AT)]
        rows: list[tuple] = []
        for file in files:
            missing = self._missing(file, names)
            there = [None if name in missing else name for name in names]
            records = rows_of_file(self.table, self.path, file, there, Tally(file))
            rows += (values for _, values in itertools.islice(records, most // len(files)))
        return {name: [values[place] for values in rows] for place, name in enumerate(names)}

    def _missing(self, file: str, names: Iterable[str]) -> set[str]:
        """Those of the names that neither a file nor its folders have."""
        if self.table.is_open:
            return set()
        return set(names).difference(self.table.column_names(file), folder_values(file, self.path))


def rows_of(
    source: Source,
    names: Sequence[str | None],
    tally: Tally,
    file: str | None = None,
    span: Span | None = None,
) -> Iterator[tuple[int, tuple]]:
    """The records of all files, one after the other, or of one or a span of it; the numbers are
    each file's own."""
    for each in source.files if file is None else (file,):
        tally.file = each
        yield from rows_of_file(source.table, source.path, each, names, tally, span)


@dataclasses.dataclass(frozen=True)
class LogFiles:
    """A log and, where there is one, its items file."""

    format: str  # one of `FORMATS`
    log_path: str
    item_path: str | None
    layout: Layout | None  # of a published log
    given: Mapping[str, str]  # role -> column, as the user named them
    options: ReadOptions

    @property
    def log_table(self) -> Table:
        """What reads the log."""
        return self.encoded(self.layout.log_table if self.layout else TABLES[self.format])

    def encoded(self, table: Table) -> Table:
        """What reads a table in the encoding that was given."""
        if not self.options.encoding:
            return table
        return dataclasses.replace(table, encodings=(self.options.encoding,))

    def of_items(self) -> "LogFiles":
        """The same for reading the items, whose file may be UTF-8 where the log's is not."""
        encoding = self.options.encoding
        if not encoding or self.item_path is None:
            return self
        if not is_utf_8_after_all(files_of(self.item_path)[0], encoding):
            return self
        return dataclasses.replace(self, options=dataclasses.replace(self.options, encoding=""))


@dataclasses.dataclass(frozen=True)
class LogReader:
    """Reads a log, whole or a span of a file of it, into whatever collects its interactions."""

    source: Source
    columns: Mapping[str, str]  # role -> column, of the roles that the log has
    guessed: bool  # a column was guessed
    time: TimeFormat | None  # None where the log has no times
    rating: RatingFormat | None  # None where it has no ratings
    events: Events

    @property
    def has(self) -> dict[str, Any]:
        """The columns that the log has, as `InteractionCollector` takes them."""
        texts = {f"has_{role}": role in self.columns for role in REVIEW_ROLES}
        return {"time": self.time, "rating": self.rating, **texts}

    def tally(self) -> Tally:
        """A tally of the log, at nothing."""
        return Tally(self.source.path, self.source.table.unit)

    def feed(
        self,
        collector: InteractionCollector,
        tally: Tally,
        file: str | None = None,
        span: Span | None = None,
    ) -> Iterator[int]:
        """Adds the interactions of all files, or of one or a span of it; yields the number of each
        line once it is added."""
        columns = [self.columns.get(role) for role in (*LOG_ROLES, *REVIEW_ROLES, EVENT)]
        records = rows_of(self.source, columns, tally, file, span)
        for number, (*values, event) in records:
            # What a stray quote swallowed may hold events that count: the collector rejects it.
            needed = values[: len(LOG_ROLES)]
            swallowed = tally.taken > 1 and any("\n" in str(v).strip() for v in needed)
            counts = swallowed or EVENT not in self.columns
            if counts or self.events.counts(number, event, tally):
                collector.add(number, *values)
                yield number

    def report(self, tally: Tally) -> Tally:
        """A tally of the whole log, with what a person should know of how it was read."""
        notes = self.events.notes(tally, self.columns.get(EVENT, ""))
        left = self.source.unused(self.columns)
        unused = f"not used: {', '.join(name[:40] for name in left[:20])}"
        is_own_form = self.source.table.is_own_form
        if "time" not in self.columns and not is_own_form:
            way = f" ({unused}; name it with --time_column)" if left else ""
            notes.append(f"{WARNING}{NO_TIME}: the order of the file is taken for it{way}")
        elif left:
            notes.append(unused)
        if tally.unrated:
            share = 100 * tally.unrated / (tally.unrated + tally.accepted)
            notes.append(
                f"{tally.unrated:,} lines without a rating left out ({share:.1f} %; without"
                " --no_rating, and with --rating_column=, they are interactions like all others)"
            )
        if len(self.source.files) > 1:
            notes.append(f"{len(self.source.files):,} files")
        columns = {} if is_own_form else self.columns
        return dataclasses.replace(tally, columns=columns, guessed=self.guessed, notes=tuple(notes))


def format_of(path: str | os.PathLike) -> str | None:
    """The format that the name of a file, or of the files of a folder or pattern, tells."""
    found = {ENDINGS.get(ending_of(file), "") for file in files_of(path, ENDINGS)}
    return found.pop() or None if len(found) == 1 else None


def find_log(
    format: str,
    interactions_path: str | os.PathLike,
    items_path: str | os.PathLike | None,
    columns: Mapping[str, str],
    options: ReadOptions,
) -> LogFiles:
    """The files of a log.

    Args:
        format: one of `FORMATS`.
        interactions_path: the log; plain or gzipped, local or gs://; a file, a folder of files or a
            pattern of their names. For MovieLens the published folder will do.
        items_path: the items; for tables of another kind than the log its name must end in one of
            `ENDINGS` (and .gz). Without it items have no titles, except in tables whose title
            column is given in `columns`.
        columns: role (`columns.ROLES`) -> column, for tables; "" says that there is none. What is
            not given is guessed, from names and, for times, from values; the report says what.
        options: how they are read.
    """
    if format not in FORMATS:
        raise UserError(f"--format {format!r} is none of {', '.join(FORMATS)}")
    for role in columns:
        if role not in ROLES:
            raise UserError(f"no role {role!r} for a column: the roles are {', '.join(ROLES)}")
    if columns and format == "sequences":
        raise UserError("--format sequences has no columns to name")
    if options.encoding:
        check_encoding(options.encoding)
    check_repair(options.join_ids)
    log_path = os.fspath(interactions_path)
    item_path = None if items_path is None else os.fspath(items_path)
    layout = None
    if format in LAYOUTS:
        layout, log_path, item_path = published_log(format, log_path, item_path)
    return LogFiles(format, log_path, item_path, layout, columns, options)


def log_reader(files: LogFiles) -> LogReader:
    """What reads the log, once its columns are found: a UserError where they cannot be, where times
    can be read in two ways, or where what was asked for is not there."""
    options = files.options
    if files.format == "sequences" and (
        options.events or options.review_texts or options.time_format or options.no_rating
    ):
        raise UserError("--format sequences has users and items alone: no events, times, texts")
    endings = {end for end, format in ENDINGS.items() if format == files.format}
    paths = files_of(files.log_path, endings)
    layout = files.layout.log_columns if files.layout else {}
    source = Source(files.log_table, files.log_path, paths, layout, files.given)
    source = _without_name_of_items(files, source)
    roles = (*LOG_ROLES, *REVIEW_ROLES) if options.review_texts else LOG_ROLES
    found, guessed = source.columns(roles, ("user", "item"))
    if options.review_texts and "review" not in found:
        raise UserError(
            f"{files.log_path}: --review_texts: no column of review texts: name it with"
            " --review_column, or leave the flag out"
        )
    found, events = find_events(source, found, options.events, options.has_verb)
    found, time, by_values = find_time(source, found, options.time_format)
    if options.no_rating and "rating" not in found:
        raise UserError(f"{files.log_path}: --no_rating: no rating column: name it")
    source.check_files(found)
    rating = None
    if "rating" in found:
        rating = RatingFormat(frozenset(options.no_rating), options.negative_ratings)
    return LogReader(source, found, guessed or by_values, time, rating, events)


def _without_name_of_items(files: LogFiles, source: Source) -> Source:
    """The log, without an item column that is named for the items file alone."""
    name = source.given.get("item")
    if not name or files.item_path is None or name in source.names():
        return source
    items = item_source(files, {"item": ""})
    if items is None or name not in items.names():
        return source
    return source.without_item_column()


def item_source(files: LogFiles, log_columns: Mapping[str, str]) -> Source | None:
    """The table of the items, where there is one; the log itself where it holds their titles."""
    if files.layout is not None and files.item_path is not None:
        table = files.encoded(files.layout.item_table)
        paths = files_of(files.item_path)
        return Source(table, files.item_path, paths, files.layout.item_columns, files.given)
    if files.item_path is not None:
        table = files.encoded(TABLES[format_of(files.item_path) or files.format])
        paths = files_of(files.item_path, ENDINGS)
        return Source(table, files.item_path, paths, {}, files.given, {"item": log_columns["item"]})
    if files.given.get("title"):
        # The log's own records hold the titles; no other text of them is taken for the item's.
        nothing = dict.fromkeys(set(ROLES) - set(LOG_ROLES), "")
        of_item = {**nothing, **files.given, "item": log_columns["item"]}
        return Source(files.log_table, files.log_path, files_of(files.log_path), {}, of_item)
    return None
