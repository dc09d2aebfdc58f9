"""What every reader of tables offers: its columns, and its records one by one."""

import abc
import dataclasses
from collections.abc import Iterator, Sequence

from recalign.data.readers.lines import UTF_8, Span, is_gzipped
from recalign.data.readers.tally import Tally


@dataclasses.dataclass(frozen=True)
class Table(abc.ABC):
    """Reads one kind of table, a file at a time."""

    encodings: tuple[str, ...] = UTF_8  # the first that fits a line is its own
    unit = "line"
    is_open = False
    """Whether records may have columns that `column_names` does not know of."""
    is_own_form = False
    """Whether it is recalign's own, of columns without names and lines in the order of time."""
    may_quote = False
    """Whether a record may go over several lines where the file holds a double quote."""

    @abc.abstractmethod
    def column_names(self, path: str) -> list[str]:
        """The table's columns; a UserError where the file is no such table."""

    @abc.abstractmethod
    def rows(
        self, path: str, names: Sequence[str | None], tally: Tally, span: Span | None = None
    ) -> Iterator[tuple[int, tuple]]:
        """(number from 1, values of the named columns, None for None) of every good record; a
        UserError where the file cannot be read on."""

    def can_be_cut(self, path: str) -> bool:
        """Whether workers can each read a span of the file's bytes."""
        return not is_gzipped(path)
