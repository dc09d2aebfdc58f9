"""JSON lines: an object a line."""

import itertools
import json
from collections.abc import Iterator, Sequence

from recalign.data.readers.lines import text_lines
from recalign.data.readers.tally import Tally

UNIT = "line"
OPEN = True
"""Whether records may have columns that `column_names` does not know of."""

_LOOKED_AT = 1_000
"""Records whose keys are taken for the columns: a key may be missing in the first ones."""


def column_names(path: str) -> list[str]:
    """The keys of the first records, in order of first appearance."""
    records = itertools.islice(_objects(path, Tally(path)), _LOOKED_AT)
    return list(dict.fromkeys(key for _, record in records for key in record))


def rows(
    path: str, names: Sequence[str | None], tally: Tally
) -> Iterator[tuple[int, tuple[object, ...]]]:
    """(line number, values of the named keys, None where a key is missing) of every good line."""
    for number, record in _objects(path, tally):
        yield number, tuple(None if name is None else record.get(name) for name in names)


def _objects(path: str, tally: Tally) -> Iterator[tuple[int, dict]]:
    for number, text in text_lines(path, tally):
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            tally.reject(number, f"not JSON ({error})", text)
            continue
        if isinstance(record, dict):
            yield number, record
        else:
            tally.reject(number, "not a JSON object", text)
