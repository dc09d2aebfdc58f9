"""Parquet: one file, typed columns."""

import itertools
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from recalign.data.readers.lines import Span, open_file
from recalign.data.readers.tally import Tally
from recalign.errors import UserError

UNIT = "row"
OPEN = False
"""Whether records may have columns that `column_names` does not know of."""


def column_names(path: str) -> list[str]:
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
    path: str, names: Sequence[str | None], tally: Tally, span: Span | None = None
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
                    name: batch.column(name).to_pylist() for name in wanted
                }
                values_of[None] = [None] * batch.num_rows
                for values in zip(*(values_of[name] for name in names), strict=True):
                    number += 1
                    yield number, values
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _damaged(path, error) from error


def spans(path: str) -> list[Span]:
    """A span for each row group.

    Raises:
        UserError: not a Parquet file.
    """
    with open_file(path) as file:
        try:
            metadata = pq.ParquetFile(file).metadata
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path, error) from error
    rows_of = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    firsts = [1, *(1 + before for before in itertools.accumulate(rows_of))]
    return [Span(group, group + 1, firsts[group]) for group in range(len(rows_of))]


def _damaged(path: str, error: Exception) -> UserError:
    return UserError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})")
