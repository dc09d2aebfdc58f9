"""JSON lines: an object a line."""

import itertools
import json
from collections.abc import Iterator, Sequence

from recalign.data.readers.lines import Span, text_lines
from recalign.data.readers.tally import Tally
from recalign.errors import UserError

UNIT = "line"
OPEN = True
"""Whether records may have columns that `column_names` does not know of."""

_LOOKED_AT = 1_000
"""Lines whose keys are taken for the columns: a key may be missing in the first ones."""


def column_names(path: str) -> list[str]:
    """The keys of the first records, in order of first appearance.

    Raises:
        UserError: no line among the first ones is good.
    """
    tally = Tally(path)
    first_lines = itertools.islice(text_lines(path, tally), _LOOKED_AT)
    names = list(dict.fromkeys(key for _, record in _objects(first_lines, tally) for key in record))
    if not names and tally.samples:
        raise UserError(tally.samples[0])
    return names


def rows(
    path: str, names: Sequence[str | None], tally: Tally, span: Span | None = None
) -> Iterator[tuple[int, tuple[object, ...]]]:
    """(line number, values of the named keys, None where a key is missing) of every good line."""
    for number, record in _objects(text_lines(path, tally, span), tally):
        yield number, tuple(None if name is None else record.get(name) for name in names)


def _objects(lines: Iterator[tuple[int, str]], tally: Tally) -> Iterator[tuple[int, dict]]:
    for number, text in lines:
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            tally.reject(number, f"not JSON ({error})", text)
            continue
        if isinstance(record, dict):
            yield number, record
        else:
            tally.reject(number, "not a JSON object", text)
