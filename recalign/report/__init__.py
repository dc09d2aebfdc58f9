"""Results beside their references: one HTML page, or plain tables for a terminal."""

from recalign.report.comparison import format_results, format_runs
from recalign.report.page import write_report

__all__ = ["format_results", "format_runs", "write_report"]
