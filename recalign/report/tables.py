"""A table as every format shows it: names, columns, cells, and which are the best of a column."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Sequence

MISSING = "—"
BEST, SECOND = "best", "second"


@dataclasses.dataclass(frozen=True)
class Cell:
    """What a table shows; `value` is what it is sorted by, `note` what is said of it in small."""

    text: str
    value: float | None = None
    mark: str = ""
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table; the first cell of a row is its name."""

    key: str  # its name in links and files, such as "table-1-toys"
    title: str  # what it shows, in a line
    columns: tuple[str, ...]  # the columns' names, the first column's too
    rows: tuple[tuple[Cell, ...], ...]  # of cells, one a column
    # (name, how many columns) above the columns, the first column left out; may be empty.
    groups: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()  # sentences below it

    @property
    def group_names(self) -> list[str]:
        """The group of every column; "" of one that is in none."""
        names = ["", *(name for name, span in self.groups for _ in range(span))]
        return names if self.groups else [""] * len(self.columns)

    @property
    def heads(self) -> list[str]:
        """What stands above each column, in one line."""
        pairs = zip(self.group_names, self.columns, strict=True)
        return [f"{group}, {name}" if group else name for group, name in pairs]


def as_text(table: Table) -> str:
    """For a terminal: the aligned cells, and the notes below."""
    lines = aligned([table.heads, *([cell.text for cell in row] for row in table.rows)])
    return "\n".join([lines, *table.notes])


def aligned(table: Sequence[Sequence[str]]) -> str:
    """Names to the left, figures to the right, two spaces between columns."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for name, *figures in table:
        right = (it.rjust(width) for it, width in zip(figures, widths[1:], strict=True))
        lines.append("  ".join([name.ljust(widths[0]), *right]))
    return "\n".join(lines)


def key_of(*words: object) -> str:
    """A table's key: words joined, without what cannot stand in a link.

    >>> key_of("table", 1, "toys, validation")
    'table-1-toys-validation'
    """
    return re.sub(r"[^A-Za-z0-9_]+", "-", "-".join(map(str, words)))


def figure(value: float | None) -> str:
    """A metric as tables show it: four digits, or a dash where it was not measured."""
    return MISSING if value is None or math.isnan(value) else f"{value:.4f}"


def number(value: float | None, shown: Callable[[float | None], str] = figure) -> Cell:
    return Cell(shown(value), value)


def bracketed(interval: tuple[float, float]) -> str:
    """The ends of an interval: [0.0123, 0.0345]."""
    low, high = interval
    return f"[{figure(low)}, {figure(high)}]"


def percent_of_auc(value: float | None) -> str:
    """An AUC as the paper shows it, in percent with two digits."""
    return MISSING if value is None or math.isnan(value) else f"{100 * value:.2f}"


def signed(value: float | None, digits: int) -> str:
    """A difference, with its sign: 0.0123 -> +0.0123."""
    if value is None or math.isnan(value):
        return MISSING
    return f"{value:+.{digits}f}".replace("-", "−")


def percent(share: float | None) -> str:
    """A share of the optimum as tables show it."""
    return MISSING if share is None else f"{100 * share:.0f} %".replace("-", "−")


def metric_name(metric: str) -> str:
    """As the paper writes it: hr@10 -> HR@10, auc_roc -> AUC-ROC."""
    return "AUC-ROC" if metric == "auc_roc" else metric.upper()


def marks(texts: Sequence[str], *, second: bool = True) -> list[str]:
    """Marks the best and the second of a column by the figures as they are shown.

    Ties share a mark; what is no number is not marked.

    >>> marks(["0.3", "—", "0.5", "0.5", "0.1"])
    ['second', '', 'best', 'best', '']
    """
    values = [_number(text) for text in texts]
    known = sorted({value for value in values if value is not None}, reverse=True)
    names = dict(zip(known[:2], (BEST, SECOND if second else ""), strict=False))
    return [names.get(value, "") if value is not None else "" for value in values]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
