"""Sequences: `user<TAB>item item …`, a user a line, items in time order; `item<TAB>title`."""

from collections.abc import Iterator

from recalign.data.readers.builders import InteractionCollector, ItemBuilder
from recalign.data.readers.lines import Span, text_lines
from recalign.data.readers.tally import Tally


def read_sequences(
    path: str, builder: InteractionCollector, tally: Tally, span: Span | None = None
) -> Iterator[int]:
    """Adds every user's items in order; a user's second line continues the first.

    Yields:
        The number of each line whose items were added.
    """
    for number, text in text_lines(path, tally, span):
        user, tab, items = text.partition("\t")
        sequence = items.split()
        if not tab or not user.strip() or not sequence:
            tally.reject(number, "not `user<TAB>item item …`", text)
            continue
        for item in sequence:
            builder.add(number, user, item)
        tally.accepted -= len(sequence) - 1  # The bad are counted by the line, so are the good.
        yield number


def read_titles(path: str, builder: ItemBuilder, tally: Tally) -> None:
    """Adds every item's title, which may be empty."""
    for number, text in text_lines(path, tally):
        item, tab, title = text.partition("\t")
        if tab:
            builder.add(number, item, title)
        else:
            tally.reject(number, "not `item<TAB>title`", text)
