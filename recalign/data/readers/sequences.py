"""Sequences: `user<TAB>item item …`, a user a line, items in time order; `item<TAB>title`."""

import dataclasses
from collections.abc import Iterator, Sequence

from recalign.data.readers.lines import Span, raw_lines, text_lines
from recalign.data.readers.tables import Table
from recalign.data.readers.tally import Tally


@dataclasses.dataclass(frozen=True)
class SequenceLines(Table):
    """A user's items, a line; a user's second line continues the first."""

    is_own_form = True

    def column_names(self, path: str) -> list[str]:
        """Those that the layout gives them, of a file that has lines at all."""
        next(raw_lines(path))
        return ["user", "item"]

    def rows(
        self, path: str, names: Sequence[str | None], tally: Tally, span: Span | None = None
    ) -> Iterator[tuple[int, tuple[str | None, ...]]]:
        """(line number, values of the named columns, None for None) of every item."""
        for number, text in text_lines(path, tally, span, self.encodings):
            user, _, items = text.partition("\t")
            sequence = items.split()
            tabs = text.rstrip("\t").count("\t")
            if tabs > 1:
                tally.reject(number, f"{tabs} tabs, not `user<TAB>item item …`", text)
            elif not tabs or not user.strip() or not sequence:
                tally.reject(number, "not `user<TAB>item item …`", text)
            else:
                for item in sequence:
                    values = {"user": user, "item": item}
                    yield number, tuple(values.get(name or "") for name in names)
                # The bad are counted by the line, so are the good.
                tally.accepted -= len(sequence) - 1


@dataclasses.dataclass(frozen=True)
class TitleLines(Table):
    """An item and its title, which may be empty, a line."""

    is_own_form = True

    def column_names(self, path: str) -> list[str]:
        """Those that the layout gives them."""
        return ["item", "title"]

    def rows(
        self, path: str, names: Sequence[str | None], tally: Tally, span: Span | None = None
    ) -> Iterator[tuple[int, tuple[str | None, ...]]]:
        """(line number, values of the named columns, None for None) of every good line."""
        for number, text in text_lines(path, tally, span, self.encodings):
            item, tab, title = text.partition("\t")
            if tab:
                values = {"item": item, "title": title}
                yield number, tuple(values.get(name or "") for name in names)
            else:
                tally.reject(number, "not `item<TAB>title`", text)
