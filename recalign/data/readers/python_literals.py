"""Python literals: a dict a line, as the Amazon 2014 metadata are. Read, never run."""

import ast
import itertools
import warnings
from collections.abc import Iterator, Sequence

from recalign.data.readers.lines import Span, text_lines
from recalign.data.readers.tally import Tally
from recalign.errors import UserError

UNIT = "line"
OPEN = True
"""Whether records may have columns that `column_names` does not know of."""

_LOOKED_AT = 1_000


def column_names(path: str) -> list[str]:
    """The keys of the first records, in order of first appearance.

    Raises:
        UserError: no line among the first ones is good.
    """
    tally = Tally(path)
    first_lines = itertools.islice(text_lines(path, tally), _LOOKED_AT)
    names = list(
        dict.fromkeys(str(key) for _, record in _dicts(first_lines, tally) for key in record)
    )
    if not names and tally.samples:
        raise UserError(tally.samples[0])
    return names


def rows(
    path: str, names: Sequence[str | None], tally: Tally, span: Span | None = None
) -> Iterator[tuple[int, tuple[object, ...]]]:
    """(line number, values of the named keys, None where a key is missing) of every good line.

    A line that is anything but literals (a call, a name, an operator) is a bad line.
    """
    for number, record in _dicts(text_lines(path, tally, span), tally):
        yield number, tuple(None if name is None else record.get(name) for name in names)


def _dicts(lines: Iterator[tuple[int, str]], tally: Tally) -> Iterator[tuple[int, dict]]:
    for number, text in lines:
        try:
            with warnings.catch_warnings():
                # Titles hold backslashes that Python would warn about.
                warnings.simplefilter("ignore")
                record = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            tally.reject(number, f"not a Python literal ({reason[:60]})", text)
            continue
        if isinstance(record, dict):
            yield number, record
        else:
            tally.reject(number, "not a dict", text)
