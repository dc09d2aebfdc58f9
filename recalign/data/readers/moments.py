"""Which column holds the time, and how it is written: told from its name and its values."""

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING

from recalign.data.readers.columns import moment_rank, several_fit
from recalign.data.readers.times import (
    TimeFormat,
    fitting_formats,
    given_format,
    pattern_of_digits,
)
from recalign.errors import UserError

if TYPE_CHECKING:
    from recalign.data.readers.sources import Source

_SECONDS = (3e8, 2.1e9)
"""1979 to 2036, as seconds since 1970."""

_DAYS = (29_221, 55_153)
"""1980 to 2050, as a spreadsheet counts days: only of a column that is named for a time."""

_MORE = 200_000
"""Records that are looked at where the first ones leave two ways to read a date."""


def find_time(
    source: "Source", found: dict[str, str], given: str
) -> tuple[dict[str, str], TimeFormat | None, bool]:
    """The columns with that of the time, where there is one; how it is written; and whether it was
    found by what it holds.

    Raises:
        UserError: several columns hold times, or dates that can be read in two ways.
    """
    by_values = False
    if "time" not in found and "time" not in source.given and not source.layout:
        free = [name for name in source.names() if name.strip() and name not in found.values()]
        if column := _column_of_times(source, free):
            found = {**found, "time": column}
            by_values = True
    if given:
        if "time" not in found:
            raise UserError(f"{source.path}: --time_format without a time: name its --time_column")
        return found, given_format(given), by_values
    if "time" not in found:
        return found, None, False
    return found, TimeFormat() if source.layout else _format(source, found["time"]), by_values


def _column_of_times(source: "Source", names: Sequence[str]) -> str | None:
    """The column whose first values are times, the best named; None where there is none."""
    ranked = {name: moment_rank(name) for name in names}
    likely = [name for name in names if ranked[name] > 0]
    values = source.sample(likely) if likely else {}
    fitting = [name for name in likely if _are_times(values[name], ranked[name] > 1)]
    best = max((ranked[name] for name in fitting), default=0)
    fitting = [name for name in fitting if ranked[name] == best]
    if len(fitting) > 1:
        raise several_fit(source.path, "time", fitting)
    return fitting[0] if fitting else None


def _are_times(values: Sequence[object], is_named: bool) -> bool:
    """Whether nearly all values are dates, or numbers that are seconds since 1970 or a thousandth
    or less of them (or, in a column that is named so, a spreadsheet's days); and not all the
    same."""
    there = [value for value in values if value is not None and str(value).strip()]
    if 2 * len(there) < len(values) or len(set(map(str, there))) < min(2, len(there)):
        return False
    kinds = {_kind(value, is_named) for value in there}
    if kinds == {"text"}:
        return bool(fitting_formats(there))
    return bool(kinds) and kinds <= {"moment", "number"}


def _kind(value: object, is_named: bool) -> str:
    """ "moment", "number" of a plausible time, "text", or "" for what is no time."""
    if isinstance(value, datetime.date):
        return "moment"
    if isinstance(value, bool | list | dict):
        return ""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return "text"
    if any(_SECONDS[0] <= number / 1000**power < _SECONDS[1] for power in range(4)):
        return "number"
    is_day = is_named and _DAYS[0] <= number < _DAYS[1]
    return "number" if is_day or pattern_of_digits([value]) else ""


def _format(source: "Source", column: str) -> TimeFormat:
    forms = fitting_formats(source.sample([column])[column])
    if len(forms) > 1:
        forms = fitting_formats(source.sample([column], _MORE)[column])
    if len(forms) > 1:
        ways = " or ".join(f"--time_format '{form.pattern}'" for form in forms[:3])
        raise UserError(
            f"{source.path}: the dates of column {column!r} can be read in two ways: say {ways}"
        )
    return forms[0] if forms else TimeFormat()
