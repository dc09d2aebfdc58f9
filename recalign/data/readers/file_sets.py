"""A log in one file, in a folder of files, or in those that a pattern names; and what the names of
folders say, where a table was parted by a column's values as Hive and Spark part it."""

import os
import urllib.parse
from collections.abc import Collection, Iterator, Sequence

from etils import epath

from recalign.data.readers.lines import Span
from recalign.data.readers.tables import Table
from recalign.data.readers.tally import Tally
from recalign.errors import UserError

_NOTHING = "__HIVE_DEFAULT_PARTITION__"


def files_of(path: str | os.PathLike, endings: Collection[str] = ()) -> tuple[str, ...]:
    """The files that a path stands for, in the order of their names.

    Of a folder, all files below it that end in one of `endings` (all where there are none), but
    hidden ones and those that begin with an underscore (`_SUCCESS`); of a pattern (`*`, `?`,
    `[…]`), those that fit. Any other path is its own file, whether it is there or not.
    """
    whole = epath.Path(path)
    if whole.is_dir():
        kept = [file for file in _below(whole) if not endings or ending_of(file) in endings]
        if not kept:
            what = f"no file in this folder ends in {', '.join(sorted(endings))}"
            raise UserError(f"{os.fspath(path)}: {what if endings else 'no file in this folder'}")
        return tuple(sorted(map(os.fspath, kept)))
    parts = whole.parts
    first = next((n for n, part in enumerate(parts) if set(part) & set("*?[")), None)
    if first is None or whole.exists():
        return (os.fspath(path),)
    folder = epath.Path(*parts[:first]) if first else epath.Path(".")
    fitting = sorted(os.fspath(file) for file in folder.glob("/".join(parts[first:])))
    if not fitting:
        raise UserError(f"{os.fspath(path)}: no file fits this pattern")
    return tuple(fitting)


def ending_of(path: str | os.PathLike) -> str:
    """
    >>> ending_of("logs/Events.CSV.gz")
    '.csv'
    """
    return os.path.splitext(os.fspath(path).removesuffix(".gz"))[1].lower()


def folder_values(file: str, root: str) -> dict[str, str]:
    """Column -> value, as the folders between a log's and a file of it are called.

    >>> folder_values("log/date=2014-01-31/kind=a%2Fb/part-0.parquet", "log")
    {'date': '2014-01-31', 'kind': 'a/b'}
    """
    below = file.removeprefix(root).split("/")[:-1]
    parts = [part.partition("=")[::2] for part in below if "=" in part.strip("=")]
    return {
        urllib.parse.unquote(key): "" if value == _NOTHING else urllib.parse.unquote(value)
        for key, value in parts
    }


def rows_of_file(
    table: Table,
    root: str,
    file: str,
    names: Sequence[str | None],
    tally: Tally,
    span: Span | None = None,
) -> Iterator[tuple[int, tuple]]:
    """A file's records as `Table.rows` gives them; a column that the file lacks may be in the names
    of its folders."""
    told = folder_values(file, root)
    if not told.keys() & set(names):
        yield from table.rows(file, names, tally, span)
        return
    in_file = [None if name in told else name for name in names]
    for number, values in table.rows(file, in_file, tally, span):
        yield number, tuple(told.get(n or "", v) for n, v in zip(names, values, strict=True))


def _below(folder: epath.Path) -> Iterator[epath.Path]:
    """The files of a folder and of those in it; what is hidden or begins with "_" is no data."""
    for path in folder.iterdir():
        if path.name[:1] in "._":
            continue
        if path.is_dir():
            yield from _below(path)
        else:
            yield path
