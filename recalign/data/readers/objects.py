"""An object a line: JSON, or Python literals as the Amazon 2014 metadata are. Read, never run."""

import ast
import dataclasses
import itertools
import json
import warnings
from collections.abc import Callable, Iterator, Sequence

from recalign.data.readers.lines import Span, raw_lines, text_lines
from recalign.data.readers.tables import Table
from recalign.data.readers.tally import Tally
from recalign.errors import UserError

_LOOKED_AT = 1_000
"""Records whose keys are taken for the columns: a key may be missing in the first ones."""

_MOST_DIGITS = 300
"""Of a whole number: a longer one is beyond every float."""


class NotAnObject(ValueError):
    """A line that is not what it should be; the message says why."""


def json_object(text: str) -> object:
    """What a line of JSON holds; NotAnObject where it is not JSON."""
    try:
        return json.loads(text, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise NotAnObject(f"not JSON ({error})") from error


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


def python_literal(text: str) -> object:
    """What a line of Python literals holds; NotAnObject for a call, a name or an operator."""
    try:
        with warnings.catch_warnings():
            # Titles hold backslashes that Python would warn about.
            warnings.simplefilter("ignore")
            found = ast.literal_eval(text.strip())
            str(found)  # 0xfff… may be too long a number to be written out
            return found
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise NotAnObject(f"not a Python literal ({reason[:60]})") from error


@dataclasses.dataclass(frozen=True)
class Objects(Table):
    """An object a line; of JSON, a whole file that is one array of objects will do."""

    parse: Callable[[str], object] = json_object  # what a line holds
    name: str = "a JSON object"  # of what it should hold
    is_open = True

    def column_names(self, path: str) -> list[str]:
        """The keys of the first records, in order of first appearance."""
        tally = Tally(path)
        records = itertools.islice(self._records(path, tally, None), _LOOKED_AT)
        names = list(dict.fromkeys(str(key) for _, record in records for key in record))
        if not names and tally.samples:
            raise UserError(tally.samples[0])
        return names

    def rows(
        self, path: str, names: Sequence[str | None], tally: Tally, span: Span | None = None
    ) -> Iterator[tuple[int, tuple[object, ...]]]:
        """(line number, values of the named keys, None where a key is missing) of every good
        line."""
        for number, record in self._records(path, tally, span):
            yield number, tuple(None if name is None else record.get(name) for name in names)

    def can_be_cut(self, path: str) -> bool:
        return super().can_be_cut(path) and not self._is_array(path)

    def _records(self, path: str, tally: Tally, span: Span | None) -> Iterator[tuple[int, dict]]:
        lines = text_lines(path, tally, span, self.encodings)
        if span is None and self._is_array(path):
            yield from self._of_array(path, lines, tally)
            return
        for number, text in lines:
            try:
                record = self.parse(text)
            except NotAnObject as error:
                tally.reject(number, str(error), text)
                continue
            if isinstance(record, dict):
                yield number, record
            else:
                tally.reject(number, f"not {self.name}", text)

    def _is_array(self, path: str) -> bool:
        """Whether the file is JSON in one piece, as it begins with a bracket and an object."""
        start = b""
        for _, line in raw_lines(path):
            start += line.strip()
            if len(start) > 1:
                break
        return self.parse is json_object and start[:1] == b"[" and start[1:].lstrip()[:1] == b"{"

    def _of_array(
        self, path: str, lines: Iterator[tuple[int, str]], tally: Tally
    ) -> Iterator[tuple[int, dict]]:
        """The objects of an array, numbered as if each had a line."""
        try:
            whole = json.loads("\n".join(text for _, text in lines))
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}: not JSON ({error})") from error
        for number, record in enumerate(whole, 1):
            if isinstance(record, dict):
                yield number, record
            else:
                tally.reject(number, f"not {self.name}", record)


JSON = Objects()
PYTHON = Objects(parse=python_literal, name="a dict")
