"""Results beside the paper's and the baselines': one HTML page, tables, or text for a terminal."""

from recalign.report.comparison import format_results, format_runs
from recalign.report.page import FORMATS, write_report

__all__ = ["FORMATS", "format_results", "format_runs", "write_report"]
