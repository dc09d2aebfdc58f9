"""Tables without a header, a record a line: Amazon's "ratings only" CSV, MovieLens' `.dat`."""

import dataclasses
from collections.abc import Iterator, Sequence

from recalign.data.readers.lines import Span, text_lines
from recalign.data.readers.tally import Tally


@dataclasses.dataclass(frozen=True)
class HeaderlessTable:
    """A table whose columns stand in its documentation; nothing in it is quoted.

    Attributes:
        separator: between two fields.
        names: the columns.
        encodings: the first that fits a line is its own; MovieLens 1M is Latin-1, 10M UTF-8.
    """

    separator: str
    names: tuple[str, ...]
    encodings: tuple[str, ...] = ("utf-8",)
    UNIT = "line"
    OPEN = False

    def column_names(self, path: str) -> list[str]:
        """The documented names, whatever the file."""
        del path
        return list(self.names)

    def rows(
        self, path: str, names: Sequence[str | None], tally: Tally, span: Span | None = None
    ) -> Iterator[tuple[int, tuple[str | None, ...]]]:
        """(line number, values of the named columns, None for None) of every good line."""
        places = [None if name is None else self.names.index(name) for name in names]
        for number, text in text_lines(path, tally, span, self.encodings):
            fields = text.split(self.separator)
            if len(fields) == len(self.names):
                yield number, tuple(None if p is None else fields[p] for p in places)
            else:
                tally.reject(number, f"{len(fields)} fields instead of {len(self.names)}", text)
