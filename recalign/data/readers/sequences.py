"""Sequences: `user<TAB>item item …`, a user a line, items in time order; `item<TAB>title`."""

from recalign.data.readers.builders import ItemBuilder, LogBuilder
from recalign.data.readers.lines import text_lines
from recalign.data.readers.tally import Tally


def read_sequences(path: str, builder: LogBuilder, tally: Tally) -> None:
    """Adds every user's items in order; a user's second line continues the first."""
    for number, text in text_lines(path, tally):
        user, tab, items = text.partition("\t")
        sequence = items.split()
        if not tab or not user.strip() or not sequence:
            tally.reject(number, "not `user<TAB>item item …`", text)
            continue
        for item in sequence:
            builder.add(number, user, item)
        tally.accepted -= len(sequence) - 1  # The bad are counted by the line, so are the good.


def read_titles(path: str, builder: ItemBuilder, tally: Tally) -> None:
    """Adds every item's title, which may be empty."""
    for number, text in text_lines(path, tally):
        item, tab, title = text.partition("\t")
        if tab:
            builder.add(number, item, title)
        else:
            tally.reject(number, "not `item<TAB>title`", text)
