"""TSV: a header, one tab between fields, a record a line."""

from collections.abc import Iterator, Sequence

from recalign.data.readers.lines import Span, first_line, text_lines
from recalign.data.readers.tally import Tally

UNIT = "line"
OPEN = False
"""Whether records may have columns that `column_names` does not know of."""


def column_names(path: str) -> list[str]:
    """The names in the header."""
    return [_unquoted(name) for name in first_line(path).split("\t")]


def rows(
    path: str, names: Sequence[str | None], tally: Tally, span: Span | None = None
) -> Iterator[tuple[int, tuple[str | None, ...]]]:
    """(line number, values of the named columns, None for None) of every good line.

    A field that is wholly in double quotes loses them; other quotes stand for themselves.
    """
    header = column_names(path)
    places = [None if name is None else header.index(name) for name in names]
    lines = text_lines(path, tally, span)
    if span is None or span.first == 1:
        next(lines, None)
    for number, text in lines:
        fields = text.split("\t")
        if len(fields) != len(header):
            tally.reject(number, f"{len(fields)} fields instead of {len(header)}", text)
        else:
            yield number, tuple(None if p is None else _unquoted(fields[p]) for p in places)


def _unquoted(field: str) -> str:
    """A field without the quotes around it, quotes inside it written once.

    >>> _unquoted('"a"'), _unquoted('12" doll')
    ('a', '12" doll')
    """
    if len(field) > 1 and field[0] == field[-1] == '"':
        return field[1:-1].replace('""', '"')
    return field
