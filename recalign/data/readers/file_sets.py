"""A log in one file, in a folder of files, or in those that a pattern names."""

import os
from collections.abc import Collection, Iterator

from etils import epath

from recalign.errors import UserError


def files_of(path: str | os.PathLike, endings: Collection[str] = ()) -> tuple[str, ...]:
    """The files that a path stands for, in the order of their names.

    Of a folder, all files below it but hidden ones and those that begin with an underscore
    (`_SUCCESS`); of a pattern (`*`, `?`, `[…]`), those that fit. Any other path is its own file,
    whether it is there or not.

    Args:
        path: local or gs://.
        endings: of the files of a folder that count; all where there are none.

    Raises:
        UserError: a folder without such a file, or a pattern that fits none.
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


def _below(folder: epath.Path) -> Iterator[epath.Path]:
    """The files of a folder and of those in it; what is hidden or begins with "_" is no data."""
    for path in folder.iterdir():
        if path.name[:1] in "._":
            continue
        if path.is_dir():
            yield from _below(path)
        else:
            yield path
