"""What most tests of readers ask for: a log and its items in one call."""

from recalign.data.readers.read import read_files
from recalign.data.readers.sources import ReadOptions, find_log
from recalign.data.readers.tally import DEFAULT_MAX_BAD_FRACTION


def read_log(
    format,
    interactions_path,
    items_path=None,
    columns=None,
    max_bad_fraction=DEFAULT_MAX_BAD_FRACTION,
    **options,
):
    """The log, the table of its items and the report."""
    files = find_log(format, interactions_path, items_path, columns or {}, ReadOptions(**options))
    return read_files(files, max_bad_fraction)
