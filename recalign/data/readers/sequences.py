"""Sequences: `user<TAB>item item …`, a user a line, items in time order; `item<TAB>title`."""

from collections.abc import Iterator, Sequence

from recalign.data.readers.builders import InteractionCollector, ItemBuilder
from recalign.data.readers.lines import UTF_8, Span, text_lines
from recalign.data.readers.tally import Tally


def read_sequences(
    path: str,
    builder: InteractionCollector,
    tally: Tally,
    span: Span | None = None,
    encodings: Sequence[str] = UTF_8,
) -> Iterator[int]:
    """Adds every user's items in order; a user's second line continues the first.

    Yields:
        The number of each line whose items were added.
    """
    for number, text in text_lines(path, tally, span, encodings):
        user, _, items = text.partition("\t")
        sequence = items.split()
        tabs = text.rstrip("\t").count("\t")
        if tabs > 1:
            tally.reject(number, f"{tabs} tabs, not `user<TAB>item item …`", text)
            continue
        if not tabs or not user.strip() or not sequence:
            tally.reject(number, "not `user<TAB>item item …`", text)
            continue
        for item in sequence:
            builder.add(number, user, item)
        tally.accepted -= len(sequence) - 1  # The bad are counted by the line, so are the good.
        yield number


def read_titles(
    path: str, builder: ItemBuilder, tally: Tally, encodings: Sequence[str] = UTF_8
) -> None:
    """Adds every item's title, which may be empty."""
    for number, text in text_lines(path, tally, None, encodings):
        item, tab, title = text.partition("\t")
        if tab:
            builder.add(number, item, title)
        else:
            tally.reject(number, "not `item<TAB>title`", text)
