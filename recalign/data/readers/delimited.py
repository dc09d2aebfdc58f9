"""Tables of text, a record a line: CSV, TSV, RecBole's files, and published ones without a header.

Two ways with quotes. CSV's: a field in quotes may hold anything, and a quote elsewhere is a fault.
TSV's: a quote stands for itself, but a field that is wholly in quotes loses them, and such a field
may go over several lines.
"""

import csv
import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recalign.data.readers.lines import MAXIMUM_LINE, Span, first_line, text_lines
from recalign.data.readers.tables import Table
from recalign.data.readers.tally import Tally
from recalign.errors import UserError

_LONGEST_RECORD = 1_000
"""Lines. A quote that is never closed would otherwise swallow the rest of the file in silence."""

_MOST_ALIKE = 5
"""Lines in quotes that look like records: fewer do so by chance."""

_SEPARATORS = (",", ";", "\t", "|")
_RARE_SEPARATORS = ("^", "~", "\x01")
"""What is between the names where none of the usual ones is."""
_TOLD = re.compile(r'"?sep=(.)"?')
"""A spreadsheet's first line, which says the separator."""
_SPACES = " "
"""Stands for any number of spaces and tabs between two fields."""
_WIDE_SPACES = "  "
"""Stands for two or more of them, where a single space is a part of a field."""
_LINES_THAT_TELL = 1_000
_WAY_ON = " (spaces part its fields: where fields hold spaces, put tabs between them)"


@dataclasses.dataclass(frozen=True)
class Csv(Table):
    """A header, then fields between commas, or whatever the header has between its own."""

    may_quote = True

    def column_names(self, path: str) -> list[str]:
        """The names in the header; MovieLens' has empty ones at its end."""
        return self._header(path)[0]

    def _header(self, path: str) -> tuple[list[str], dict[str, Any]]:
        """The names, and how fields are told apart: by what gives the most names."""
        header = first_line(path, self.encodings, past=_TOLD)
        found: list[tuple[list[str], dict[str, Any]]] = []
        for separator in (*_SEPARATORS, *_RARE_SEPARATORS, " "):
            if separator not in _SEPARATORS and any(len(names) > 1 for names, _ in found):
                break
            # A space behind a separator is no part of the field.
            dialect: dict[str, Any] = {
                "delimiter": separator,
                "skipinitialspace": separator == " " or f"{separator} " in header,
            }
            try:
                names = next(csv.reader([header], strict=True, **dialect), [])
            except csv.Error as error:
                fault = error
            else:
                found.append(([name.strip() for name in names], dialect))
        if not found:
            raise UserError(f"{path}, line 1: the header is not CSV ({fault})") from fault
        return max(found, key=lambda names_and_dialect: len(names_and_dialect[0]))

    def rows(
        self, path: str, names: Sequence[str | None], tally: Tally, span: Span | None = None
    ) -> Iterator[tuple[int, tuple[str | None, ...]]]:
        """(line number, values of the named columns, None for None) of every good record.

        A record that lacks a named column, or has more fields than the header, is a bad line; a
        quote that is opened and not closed is a UserError. Only a file without quotes has spans: a
        quoted field may go over several lines.
        """
        header, dialect = self._header(path)
        places = [None if name is None else header.index(name) for name in names]
        width = max((place for place, name in enumerate(header) if name.strip()), default=-1) + 1
        lines = _Lines(text_lines(path, tally, span, self.encodings), path)
        previous_limit = csv.field_size_limit(MAXIMUM_LINE)
        try:
            reader = csv.reader(lines, strict=True, **dialect)
            if span is None or span.first == 1:
                next(reader, None)
                if _TOLD.fullmatch(lines.text):
                    next(reader, None)
            while True:
                lines.start_record()
                try:
                    record = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    if lines.ended:
                        raise UserError(
                            f"{path}, line {lines.first}: a quote is not closed"
                        ) from error
                    record = _with_escapes(lines, dialect)
                    if not record:
                        tally.reject(lines.first, f"not CSV ({error})", lines.text, lines.length)
                        continue
                if any(record[len(header) :]):
                    record = _with_escapes(lines, dialect) or record
                if len(record) < width:
                    tally.reject(lines.first, f"fewer fields than {width}", record, lines.length)
                elif any(record[len(header) :]):
                    way = _WAY_ON if dialect["delimiter"] == " " else ""
                    reason = f"more fields than {len(header)}{way}"
                    tally.reject(lines.first, reason, record, lines.length)
                elif lines.length > _MOST_ALIKE and lines.are_records(record, dialect["delimiter"]):
                    reason = "a quote joins lines that are records (is one missing in the first?)"
                    tally.reject(lines.first, reason, record, lines.length)
                else:
                    tally.taken = lines.length
                    yield lines.first, tuple(None if p is None else record[p] for p in places)
        finally:
            csv.field_size_limit(previous_limit)


def _with_escapes(lines: "_Lines", dialect: Mapping[str, Any]) -> list[str]:
    """The fields of a line in which backslashes stand before quotes, as MySQL and Spark write them;
    none where that does not make it whole."""
    if lines.length != 1 or '\\"' not in lines.text:
        return []
    try:
        return next(csv.reader([lines.text], strict=True, escapechar="\\", **dialect))
    except csv.Error:
        return []


class _Lines:
    """Feeds `csv.reader` and remembers which lines the present record took."""

    def __init__(self, lines: Iterator[tuple[int, str]], path: str) -> None:
        self._lines = lines
        self._path = path
        self.first = 0
        self.length = 0
        self.text = ""
        self.ended = False
        self._more: list[str] = []

    def start_record(self) -> None:
        if self.length > 1:
            self._more = []
        self.length = 0

    def are_records(self, record: Sequence[str], separator: str) -> bool:
        """Whether a stray quote joined these lines: the first and the last are records too if it
        stands for itself, and most of those between are like this one outside of the quotes."""
        first, *others = (text.split(separator) for text in (self.text, *self._more))
        width, between = len(record), others[:-1]
        if len(between) <= _MOST_ALIKE or len(first) < width or width < 2:
            return False
        if any(len(fields) != width for fields in others):
            return False
        places = [place for place, field in enumerate(record) if "\n" not in field]
        own = [_kind(record[place]) for place in places]
        alike = sum([_kind(fields[place]) for place in places] == own for fields in between)
        return 2 * alike > len(between)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            number, text = next(self._lines)
        except StopIteration:
            self.ended = True
            raise
        self.length += 1
        if self.length == 1:
            self.first, self.text = number, text
        elif self.length > _LONGEST_RECORD:
            raise UserError(f"{self._path}, line {self.first}: a quote is not closed")
        else:
            self._more.append(text)
        return text + "\n"


def _kind(field: str) -> str:
    try:
        float(field)
    except ValueError:
        return "words" if " " in field.strip() else "word"
    return "number"


@dataclasses.dataclass(frozen=True)
class Tsv(Table):
    """A table whose quotes stand for themselves."""

    names: tuple[str, ...] = ()  # the columns where a published file has no header
    # Between two fields; where "" the header tells: tabs, else what gives the most columns, else
    # spaces. MovieLens' "::" is one.
    separator: str = ""
    quotes: bool = True  # a field that is wholly in quotes loses them

    @property
    def may_quote(self) -> bool:  # type: ignore[override]
        """Whether a record may go over several lines where the file holds a double quote."""
        return self.quotes

    def column_names(self, path: str) -> list[str]:
        """The names in the header, or the documented ones, whatever the file."""
        return list(self._header(path)[0])

    def _header(self, path: str) -> tuple[Sequence[str], str]:
        if self.names:
            return self.names, self.separator
        header = first_line(path, self.encodings)
        separator = self.separator
        if not separator:
            others = (*_SEPARATORS, *_RARE_SEPARATORS)
            separator = "\t" if "\t" in header else max(others, key=header.count)
            separator = separator if separator in header else self._spaces(path)
        return [self._unquoted(name).strip() for name in _parted(header, separator)], separator

    def _spaces(self, path: str) -> str:
        """Which spaces are between fields: wide ones where those alone make all records whole."""
        lines = text_lines(path, Tally(path), None, self.encodings)
        head = [text for _, text in itertools.islice(lines, _LINES_THAT_TELL)]
        any_widths = {len(_parted(text, _SPACES)) for text in head}
        wide_widths = {len(_parted(text, _WIDE_SPACES)) for text in head}
        is_wide = len(any_widths) > 1 and len(wide_widths) == 1 and wide_widths != {1}
        return _WIDE_SPACES if is_wide else _SPACES

    def rows(
        self, path: str, names: Sequence[str | None], tally: Tally, span: Span | None = None
    ) -> Iterator[tuple[int, tuple[str | None, ...]]]:
        header, separator = self._header(path)
        places = [None if name is None else header.index(name) for name in names]
        lines = text_lines(path, tally, span, self.encodings)
        if not self.names and (span is None or span.first == 1):
            next(lines, None)
        for number, fields, count in self._records(lines, separator, len(header)):
            if len(fields) != len(header):
                way = _WAY_ON if separator in (_SPACES, _WIDE_SPACES) else ""
                reason = f"{len(fields)} fields instead of {len(header)}{way}"
                tally.reject(number, reason, separator.join(fields), count)
            else:
                tally.taken = count
                yield (
                    number,
                    tuple(None if p is None else self._unquoted(fields[p]) for p in places),
                )

    def _records(
        self, lines: Iterator[tuple[int, str]], separator: str, width: int
    ) -> Iterator[tuple[int, list[str], int]]:
        """(first line, fields, number of lines) of each record.

        A field in quotes goes on over the following lines, if that is what makes the record whole;
        otherwise the quote stands for itself.
        """
        waiting: list[tuple[int, str]] = []
        while waiting or (line := next(lines, None)):
            number, text = waiting.pop(0) if waiting else line  # type: ignore[misc]
            fields = _parted(text, separator)
            if not self.quotes or len(fields) > width or not _is_opened(fields[-1]):
                yield number, fields, 1
                continue
            whole = fields
            taken = 0
            while len(whole) <= width and _is_opened(whole[-1]) and taken < _LONGEST_RECORD:
                if taken == len(waiting):
                    if (following := next(lines, None)) is None:
                        break
                    waiting.append(following)
                more = _parted(waiting[taken][1], separator)
                if len(more) == width > 1:
                    break  # A record of its own.
                whole = [*whole[:-1], f"{whole[-1]}\n{more[0]}", *more[1:]]
                taken += 1
            if len(whole) == width and not _is_opened(whole[-1]):
                del waiting[:taken]
                yield number, whole, 1 + taken
            else:
                yield number, fields, 1

    def _unquoted(self, field: str) -> str:
        """A field without the quotes around it, quotes inside it written once."""
        if self.quotes and len(field) > 1 and field[0] == field[-1] == '"':
            return field[1:-1].replace('""', '"')
        return field


def _parted(text: str, separator: str) -> list[str]:
    """
    >>> _parted("u  3   4.5", _SPACES)
    ['u', '3', '4.5']
    >>> _parted("i3   Red pot", _WIDE_SPACES)
    ['i3', 'Red pot']
    """
    if separator == _WIDE_SPACES:
        return re.split(r"\s{2,}|\t", text.strip())
    return text.split() if separator == _SPACES else text.split(separator)


def _is_opened(field: str) -> bool:
    """Whether a quote opens the field and none closes it.

    >>> _is_opened('"Two'), _is_opened('"Two"'), _is_opened('12" doll'), _is_opened('"a ""b""')
    (True, False, False, True)
    """
    return field.startswith('"') and not re.fullmatch(r'"(?:[^"]|"")*"', field)
