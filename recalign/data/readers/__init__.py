"""Readers of raw logs, one format a file."""

from recalign.data.readers.read import FORMATS, read_log
from recalign.data.readers.tally import DEFAULT_MAX_BAD_FRACTION, ReadReport

__all__ = ["DEFAULT_MAX_BAD_FRACTION", "FORMATS", "ReadReport", "read_log"]
