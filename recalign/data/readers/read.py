"""Reads the files of a log and what is known of its items."""

import dataclasses
import os
from collections.abc import Mapping, Sequence

import numpy as np

from recalign.data.interactions import Interactions, ItemTable
from recalign.data.readers.builders import ItemBuilder, LogBuilder
from recalign.data.readers.columns import ITEM_ROLES, listed
from recalign.data.readers.sources import (
    FORMATS,
    LogFiles,
    ReadOptions,
    Source,
    find_log,
    format_of,
    item_source,
    log_reader,
    rows_of,
)
from recalign.data.readers.tally import DEFAULT_MAX_BAD_FRACTION, ReadReport, Tally
from recalign.data.readers.values import id_or_nothing
from recalign.errors import UserError

_TOKENS = ":token_seq"
"""How RecBole names a column of words between spaces."""

_UNTITLED = "no items file: items are named by their raw ids; give --items"


def read_files(
    files: LogFiles, max_bad_fraction: float
) -> tuple[Interactions, ItemTable, ReadReport]:
    """Reads a raw log and what is known of its items.

    `max_bad_fraction` is the fraction of lines of a file that may be bad; they are left out,
    counted and sampled in the report. A UserError is one line with file, line and value: a file
    that cannot be read, columns that cannot be found, too many bad lines, no interactions at all,
    or items that are all others than the log's.
    """
    log, report = read_interactions(files, max_bad_fraction)
    counts = np.bincount(log.item, minlength=len(log.item_ids)).tolist()
    wanted = dict(zip(log.item_ids, counts, strict=True))
    items, both = read_items(files, report, wanted, max_bad_fraction)
    return log, items, both


def read_interactions(
    files: LogFiles, max_bad_fraction: float = DEFAULT_MAX_BAD_FRACTION
) -> tuple[Interactions, Tally]:
    """Reads a log without its items, else as `read_files` does."""
    check_fraction(max_bad_fraction)
    reader = log_reader(files)
    tally = reader.tally()
    builder = LogBuilder(tally, **reader.has)
    for _ in reader.feed(builder, tally):
        pass
    reader.events.check(tally)
    log = builder.build()
    tally.check(max_bad_fraction)
    return log, reader.report(tally)


def check_fraction(max_bad_fraction: float) -> None:
    """Raises a UserError for a --max_bad_fraction below 0, or of 1 or more."""
    if not 0 <= max_bad_fraction < 1:
        raise UserError(f"--max_bad_fraction {max_bad_fraction}: 0 or more and below 1")


def read_items(
    files: LogFiles, log_report: Tally, wanted: Mapping[str, int], max_bad_fraction: float
) -> tuple[ItemTable, ReadReport]:
    """What is known of the items of a log that has been read.

    Args:
        files: the log's.
        log_report: it gets a note where nothing is known of the items.
        wanted: the raw ids of the log's items, and the number of interactions of each.
        max_bad_fraction: as `read_files` takes it.
    """
    of_items = files.of_items()
    source = item_source(of_items, log_report.columns)
    if source is None:
        report = dataclasses.replace(log_report, notes=(*log_report.notes, _UNTITLED))
        return ItemTable.of_titles([], []), ReadReport(report, None)
    items, item_report = _item_table(of_items, source, wanted, max_bad_fraction)
    if of_items.options.encoding != files.options.encoding:
        note = f"is UTF-8: --encoding {files.options.encoding} is for the log alone"
        item_report = dataclasses.replace(item_report, notes=(*item_report.notes, note))
    return items, ReadReport(log_report, item_report if files.item_path is not None else None)


def read_all_items(
    path: str | os.PathLike,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    max_bad_fraction: float = DEFAULT_MAX_BAD_FRACTION,
) -> tuple[ItemTable, list[str]]:
    """Every item of a file by itself, and what a person should know of how it was read.

    `find_log` says what the arguments are; the format is told from the file's name where it is
    None.
    """
    check_fraction(max_bad_fraction)
    path = os.fspath(path)
    format = format or format_of(path)
    if format is None:
        raise UserError(f"{path}: say its format: {', '.join(FORMATS)}")
    files = find_log(format, path, path, columns or {}, ReadOptions())
    source = item_source(files, {"item": ""})
    assert source is not None, "there is a path of items"
    items, report = _item_table(files, source, None, max_bad_fraction)
    return items, report.lines()


def _item_table(
    files: LogFiles, source: Source, wanted: Mapping[str, int] | None, max_bad_fraction: float
) -> tuple[ItemTable, Tally]:
    tally = Tally(source.path, source.table.unit)
    source, found, guessed = _item_columns(source)
    spaced = found.get("categories", "").endswith(_TOKENS)
    builder = ItemBuilder(tally, wanted, files.options.join_ids, spaced)
    unused = source.unused(found)
    source.check_files(found)
    for number, values in rows_of(source, [found.get(role) for role in ITEM_ROLES], tally):
        builder.add(number, *values)
    tally.check(max_bad_fraction)
    if wanted and not builder.joined:
        _refuse_for_another_column(source, found["item"], unused, wanted)
    items, notes = builder.build()
    if unused:
        notes = (*notes, f"not used: {', '.join(name[:40] for name in unused[:20])}")
    columns = {} if source.table.is_own_form else found
    return items, dataclasses.replace(tally, columns=columns, guessed=guessed, notes=notes)


def _refuse_for_another_column(
    source: Source, column: str, others: Sequence[str], wanted: Mapping[str, int]
) -> None:
    """Raises a UserError where another column of the items holds the log's IDs."""
    held = {name: set(map(id_or_nothing, v)) for name, v in source.sample(others).items() if name}
    found = {name: ids.intersection(wanted) for name, ids in held.items()}
    best = max(found, key=lambda name: len(found[name]), default="")
    if best and 2 * len(found[best]) > min(len(wanted), len(held[best])):
        raise UserError(
            f"{source.path}: none of the log's {len(wanted):,} items is in its column {column!r},"
            f" but {len(found[best]):,} are in its column {best!r}, such as"
            f" {min(found[best])!r}: --item_column {best!r}"
        )


def _item_columns(source: Source) -> tuple[Source, dict[str, str], bool]:
    """The columns of the items; a UserError where a table of one's own has no IDs, or neither
    titles nor word that there are none."""
    names = source.names()
    if source.given.get("item", "") not in ("", *names):
        # The log's name of the item column need not be the items file's.
        source = source.without_item_column()
    found, guessed = source.columns(ITEM_ROLES, ("item",))
    if "title" in found or "title" in source.given or source.layout:
        return source, found, guessed
    free = [name for name in names if name not in found.values()]
    if len(names) == 2 and len(free) == 1:
        return source, {**found, "title": free[0]}, True
    raise UserError(
        f"{source.path}: no title column among {listed(names)}: name it with --title_column"
        " (--title_column= if there is none)"
    )
