"""The private parts of gin and SeqIO that recalign uses: all of them, and why.

tests/test_internals.py compares what they do with the libraries' public functions, and fails where
a new release has changed them.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import IO, TypeVar

import seqio
from gin import config as gin_config

T = TypeVar("T")


def tfds_data_dir() -> str | None:
    """What T5X's --tfds_data_dir set; SeqIO has a public way to set it, and none to ask for it."""
    return seqio.utils._TFDS_DATA_DIR_OVERRIDE


def remove_macro(name: str) -> None:
    """Takes a macro out of gin's configuration: its value may refer to what is not there.

    gin can only clear all of its configuration.
    """
    gin_config._CONFIG.pop((name, "gin.macro"), None)


def module_of_configurable(name: str) -> str | None:
    """The module of what gin takes for this name; None where it knows none of it, or several.

    gin can only say what a configurable is bound to.
    """
    try:
        found = gin_config.parse_value(f"@{name}").configurable.wrapped
    except (ValueError, KeyError, SyntaxError):
        return None
    return getattr(found, "__module__", None)


def parsed(parse: Callable[[], T]) -> T:
    """What `parse` returns, which reads Python's syntax; it reads again what another thread spoilt.

    Some releases of CPython (3.11.7 is one) count how deep a tree of syntax is for all threads
    together, so that two threads that parse at once can fail, whatever they parse.
    """
    for _ in range(9):
        try:
            return parse()
        except Exception as error:
            if "AST constructor recursion depth mismatch" not in str(error):
                raise
    return parse()


@contextlib.contextmanager
def files_of_gin(
    search_paths: Sequence[str], open_text: Callable[[str], IO[str]], exists: Callable[[str], bool]
) -> Iterator[None]:
    """gin with these search paths and this way to read a file, and no other.

    gin would also look in installed packages, before its later search paths: where T5X is
    installed, T5X's files would win over ours of the same name. And search paths can only be
    added to, so that a second experiment in one process would see the first one's.
    """
    prefixes, readers = list(gin_config._LOCATION_PREFIXES), list(gin_config._FILE_READERS)
    gin_config._LOCATION_PREFIXES[:] = search_paths
    gin_config._FILE_READERS[:] = [(open_text, exists)]
    try:
        yield
    finally:
        gin_config._LOCATION_PREFIXES[:] = prefixes
        gin_config._FILE_READERS[:] = readers
