"""Parquet: typed columns."""

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
        """The names of the columns.

        Raises:
            UserError: not a Parquet file.
        """
        with open_file(path) as file:
            try:
                return list(pq.ParquetFile(file).schema_arrow.names)
            except (pa.ArrowException, OSError) as error:
                raise _damaged(path, error) from error

    def rows(
        self, path: str, names: Sequence[str | None], tally: Tally, span: Span | None = None
    ) -> Iterator[tuple[int, tuple[object, ...]]]:
        """(row number from 1, values of the named columns, None for None) of every row.

        Raises:
            UserError: a damaged file.
        """
        del tally  # Parquet has no lines that could be bad; bad values are for the caller to see.
        wanted = list(dict.fromkeys(name for name in names if name is not None))
        number = span.first - 1 if span else 0
        groups = range(span.start, span.end) if span else None
        with open_file(path) as file:
            try:
                for batch in pq.ParquetFile(file).iter_batches(columns=wanted, row_groups=groups):
                    values_of: dict[str | None, list] = {
                        name: _values(name, batch.column(name)) for name in wanted
                    }
                    values_of[None] = [None] * batch.num_rows
                    for values in zip(*(values_of[name] for name in names), strict=True):
                        number += 1
                        yield number, values
            except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
                # A time that its datetime cannot hold is an OverflowError.
                raise _damaged(path, error) from error

    def spans(self, path: str) -> list[Span]:
        """A span for each row group.

        Raises:
            UserError: not a Parquet file.
        """
        with open_file(path) as file:
            try:
                metadata = pq.ParquetFile(file).metadata
            except (pa.ArrowException, OSError) as error:
                raise _damaged(path, error) from error
        groups = range(metadata.num_row_groups)
        rows_of = [metadata.row_group(group).num_rows for group in groups]
        firsts = [1, *(1 + before for before in itertools.accumulate(rows_of))]
        return [Span(group, group + 1, firsts[group]) for group in groups]

    def number_of_rows(self, path: str) -> int:
        """How many rows a file has."""
        with open_file(path) as file:
            return pq.ParquetFile(file).metadata.num_rows


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


def _damaged(path: str, error: Exception) -> UserError:
    return UserError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})")
