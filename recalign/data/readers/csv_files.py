"""CSV: a header, commas (or semicolons), fields in double quotes where they need it."""

import csv
from collections.abc import Iterator, Sequence

from recalign.data.readers.lines import MAXIMUM_LINE, Span, first_line, text_lines
from recalign.data.readers.tally import Tally
from recalign.errors import UserError

UNIT = "line"
OPEN = False
"""Whether records may have columns that `column_names` does not know of."""

_LONGEST_RECORD = 1_000
"""Lines. A quote that is never closed would otherwise swallow the rest of the file in silence."""


def column_names(path: str) -> list[str]:
    """The names in the header; MovieLens' has empty ones at its end."""
    header = first_line(path)
    try:
        return next(csv.reader([header], delimiter=_delimiter(header), strict=True), [])
    except csv.Error as error:
        raise UserError(f"{path}, line 1: the header is not CSV ({error})") from error


def rows(
    path: str, names: Sequence[str | None], tally: Tally, span: Span | None = None
) -> Iterator[tuple[int, tuple[str | None, ...]]]:
    """(line number, values of the named columns, None for None) of every good record.

    A record that lacks a named column, or has more fields than the header, is a bad line. Only a
    file without quotes has spans: a quoted field may go over several lines.

    Raises:
        UserError: a quote that is opened and not closed.
    """
    header = column_names(path)
    places = [None if name is None else header.index(name) for name in names]
    width = max((place for place, name in enumerate(header) if name.strip()), default=-1) + 1
    lines = _Lines(text_lines(path, tally, span), path)
    previous_limit = csv.field_size_limit(MAXIMUM_LINE)
    try:
        reader = csv.reader(lines, delimiter=_delimiter(first_line(path)), strict=True)
        if span is None or span.first == 1:
            next(reader)
        while True:
            lines.start_record()
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if lines.ended:
                    raise UserError(f"{path}, line {lines.first}: a quote is not closed") from error
                tally.reject(lines.first, f"not CSV ({error})", lines.text, lines.length)
                continue
            if len(record) < width:
                tally.reject(lines.first, f"fewer fields than {width}", record, lines.length)
            elif any(record[len(header) :]):
                tally.reject(lines.first, f"more fields than {len(header)}", record, lines.length)
            else:
                yield lines.first, tuple(None if p is None else record[p] for p in places)
    finally:
        csv.field_size_limit(previous_limit)


def _delimiter(header: str) -> str:
    """A comma, but a semicolon where the header has no comma: the CSV of half of Europe."""
    return ";" if ";" in header and "," not in header else ","


class _Lines:
    """Feeds `csv.reader` and remembers which lines the present record took."""

    def __init__(self, lines: Iterator[tuple[int, str]], path: str) -> None:
        self._lines = lines
        self._path = path
        self.first = 0
        self.length = 0
        self.text = ""
        self.ended = False

    def start_record(self) -> None:
        self.length = 0

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
        return text + "\n"
