"""Parquet: typed columns."""

import contextlib
import dataclasses
import decimal
import itertools
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recalign.data.readers.lines import Span, open_file
from recalign.data.readers.tables import Table
from recalign.data.readers.tally import Tally
from recalign.errors import UserError


@dataclasses.dataclass(frozen=True)
class Parquet(Table):
    """A Parquet file; its spans are row groups."""

    unit = "row"

    def column_names(self, path: str) -> list[str]:
        with _opened(path) as file:
            return list(file.schema_arrow.names)

    def rows(
        self, path: str, names: Sequence[str | None], tally: Tally, span: Span | None = None
    ) -> Iterator[tuple[int, tuple[object, ...]]]:
        del tally  # Parquet has no lines that could be bad; bad values are for the caller to see.
        wanted = list(dict.fromkeys(name for name in names if name is not None))
        number = span.first - 1 if span else 0
        groups = range(span.start, span.end) if span else None
        with _opened(path) as file:
            for batch in file.iter_batches(columns=wanted, row_groups=groups):
                values_of: dict[str | None, list] = {
                    name: _values(name, batch.column(name)) for name in wanted
                }
                values_of[None] = [None] * batch.num_rows
                for values in zip(*(values_of[name] for name in names), strict=True):
                    number += 1
                    yield number, values

    def spans(self, path: str) -> list[Span]:
        """A span for each row group."""
        with _opened(path) as file:
            groups = range(file.metadata.num_row_groups)
            rows_of = [file.metadata.row_group(group).num_rows for group in groups]
        firsts = itertools.accumulate(rows_of, initial=1)
        return [Span(group, group + 1, first) for group, first in zip(groups, firsts, strict=False)]

    def number_of_rows(self, path: str) -> int:
        """How many rows a file has."""
        with _opened(path) as file:
            return file.metadata.num_rows


@contextlib.contextmanager
def _opened(path: str) -> Iterator[pq.ParquetFile]:
    """A UserError where the file is damaged, or none of Parquet."""
    with open_file(path) as file:
        try:
            yield pq.ParquetFile(file)
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            # A time that its datetime cannot hold is an OverflowError.
            reason = str(error).splitlines()[0]
            raise UserError(f"{path}: not a readable Parquet file ({reason})") from error


def _values(name: str, column: pa.Array) -> list:
    """A column as Python's values: text of bytes, plain numbers of decimals, and times that its
    datetime can hold."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        column = pc.cast(column, pa.timestamp("us", column.type.tz), safe=False)
    if pa.types.is_fixed_size_binary(column.type):
        column = pc.cast(column, pa.binary())
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        try:
            column = pc.cast(column, pa.large_string())
        except pa.ArrowInvalid as error:
            raise ValueError(f"column {name!r} has bytes that are no text") from error
    if pa.types.is_decimal(column.type):
        return [None if value is None else _number(value) for value in column.to_pylist()]
    return column.to_pylist()


def _number(value: decimal.Decimal) -> int | float:
    """A decimal without the zeros of its scale: of a whole one every digit.

    >>> _number(decimal.Decimal("12345678901234567890.00")), _number(decimal.Decimal("4.50"))
    (12345678901234567890, 4.5)
    """
    whole = int(value)
    return whole if whole == value else float(value)
