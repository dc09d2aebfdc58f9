"""Times: a number, ISO 8601, or text in a form that the column's first values show."""

import contextlib
import dataclasses
import datetime
import functools
import itertools
import math
import re
from collections.abc import Iterable, Sequence

from recalign.errors import UserError

_ZONES = {
    **dict.fromkeys(("UTC", "GMT", "Z"), "+0000"),
    **{"EST": "-0500", "EDT": "-0400", "CST": "-0600", "CDT": "-0500"},
    **{"MST": "-0700", "MDT": "-0600", "PST": "-0800", "PDT": "-0700"},
    **{"CET": "+0100", "CEST": "+0200", "JST": "+0900", "IST": "+0530"},
}
_ZONE = re.compile(rf"\s*\b({'|'.join(_ZONES)})$")
_OFFSET = re.compile(r"\s+([+-]\d\d:?\d\d)$")

_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th)\b")
_DIGITS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
"""Dates of digits alone, by their number."""
_ALL_DIGITS = re.compile("(?:%[YymdjHMS])+")

_DATES = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y",
    "%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%y", "%m-%d-%y", "%m %d, %Y", "%d %m %Y",
    "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y", "%a, %d %b %Y",
    "%A, %B %d, %Y", "%d-%b-%Y", "%d-%b-%y", "%Y-%b-%d", "%Y-%m",
)  # fmt: skip
_CLOCKS = ("", "%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p", "%I:%M%p")
_WHOLE = (
    "%a %b %d %H:%M:%S %z %Y", "%a %b %d %H:%M:%S %Y", "%d/%b/%Y:%H:%M:%S", "%d%b%Y:%H:%M:%S",
    "%H:%M:%S %d/%m/%Y", "%H:%M:%S %m/%d/%Y", "%H:%M %d.%m.%Y",
)  # fmt: skip
PATTERNS = (
    *(
        f"{date}{joint}{clock}" if clock else date
        for date, clock in itertools.product(_DATES, _CLOCKS)
        for joint in ((" ", ", ") if clock else ("",))
    ),
    *_WHOLE,
)
"""The forms that are looked for, as `datetime.strptime` has them."""

_LATEST = 4.1e9
"""2099, in seconds since 1970: later dates of digits are other numbers."""

_DECIDED = 0.9
"""The share of a column's values that a form has to fit; the others are bad lines."""


@dataclasses.dataclass(frozen=True)
class TimeFormat:
    """How the times of a column are written: as `datetime.strptime` takes it, a zone at the end
    aside; what it does not fit may be a number or ISO 8601 yet, and "" leaves these alone."""

    pattern: str = ""

    def seconds(self, value: object) -> float:
        """A time as a number: a number itself, or a moment as seconds since 1970 (UTC if unsaid); a
        ValueError for what is absent, negative, not finite, or no time."""
        if isinstance(value, datetime.datetime):
            return _seconds(value)
        if isinstance(value, datetime.date):
            return _seconds(datetime.datetime(value.year, value.month, value.day))
        if _ALL_DIGITS.fullmatch(self.pattern) and not isinstance(value, bool):
            # Before what is digits alone is taken for a number.
            with contextlib.suppress(ValueError):
                return _of_digits(_digits(value), self.pattern)
        try:
            time = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            return _of_text(str(value), self.pattern)
        if not math.isfinite(time) or time < 0 or isinstance(value, bool):
            raise ValueError("no time (0 or more and finite is needed)")
        return time


def _digits(value: object) -> str:
    """
    >>> _digits(20140131.0), _digits(" 20140131"), _digits("20140131.0")
    ('20140131', '20140131', '20140131')
    """
    return str(value).strip().removesuffix(".0")


@functools.lru_cache(maxsize=100_000)
def _of_digits(text: str, pattern: str) -> float:
    """Seconds of a date without a separator; a ValueError where there is no such day."""
    return _seconds(datetime.datetime.strptime(text, pattern))


@functools.lru_cache(maxsize=100_000)
def _of_text(text: str, pattern: str) -> float:
    """Seconds of a moment in words; dates repeat, so that most are looked up."""
    zoned = _with_offset(text)
    if pattern:
        for zone in ("",) if "%z" in pattern else ("", " %z"):
            try:
                return _seconds(datetime.datetime.strptime(zoned, pattern + zone))
            except ValueError:
                continue
    try:
        return _seconds(datetime.datetime.fromisoformat(_OFFSET.sub(r"\1", zoned)))
    except ValueError:
        needed = f"{pattern!r}" if pattern else "a number, ISO 8601 or --time_format"
        raise ValueError(f"no time ({needed} is needed)") from None


def _with_offset(text: str) -> str:
    """
    >>> _with_offset(" 2014-03-01 12:00:00 UTC"), _with_offset("March 1st, 2014")
    ('2014-03-01 12:00:00 +0000', 'March 1, 2014')
    """
    plain = _ORDINAL.sub("", text.strip())
    return _ZONE.sub(lambda match: f" {_ZONES[match[1]]}", plain)


def _seconds(moment: datetime.datetime) -> float:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    seconds = moment.timestamp()
    if seconds < 0:
        raise ValueError("no time (it is before 1970)")
    return seconds


def given_format(pattern: str) -> TimeFormat:
    """The form that --time_format names."""
    try:
        example = datetime.datetime(2014, 12, 31, 13, 45, 59).strftime(pattern)
        has_year = datetime.datetime.strptime(example, pattern).year == 2014
    except ValueError as error:
        raise UserError(f"--time_format {pattern!r}: {error} (as in '%d/%m/%Y %H:%M')") from error
    if not has_year:
        raise UserError(f"--time_format {pattern!r}: no year (as in '%d/%m/%Y %H:%M')")
    return TimeFormat(pattern)


def fitting_formats(values: Iterable[object]) -> list[TimeFormat]:
    """The forms in which a column's values are written, the most fitting alone.

    Several come back where the values do not tell them apart: days and months below 13.
    """
    texts = list(dict.fromkeys(text for value in values if (text := str(value).strip())))
    if texts and (digits := pattern_of_digits(texts)):
        return [TimeFormat(digits)]
    if not texts or _share(TimeFormat(), texts) >= _DECIDED:
        return [TimeFormat()] if texts else []
    # Most forms fit none of a few values.
    few = texts[:: max(1, len(texts) // 10)]
    shares = {
        pattern: _share(TimeFormat(pattern), texts)
        for pattern in PATTERNS
        if any(_skeleton(text) == _skeleton(pattern) for text in few)
        and _share(TimeFormat(pattern), few) > 0
    }
    best = max(shares.values(), default=0.0)
    if best < _DECIDED:
        return []
    found: dict[tuple[float, ...], TimeFormat] = {}
    for pattern, share in shares.items():
        if share == best:
            found.setdefault(_read(TimeFormat(pattern), texts), TimeFormat(pattern))
    return list(found.values())


def pattern_of_digits(values: Sequence[object]) -> str:
    """The form of dates without separators; "" where the values are other numbers.

    >>> pattern_of_digits(["20140131", "20140228"]), pattern_of_digits([20140131, 20149999])
    ('%Y%m%d', '')
    """
    texts = list(map(_digits, values))
    pattern = _DIGITS.get(len(texts[0]), "")
    if not pattern:
        return ""
    read = 0
    for text in texts:
        with contextlib.suppress(ValueError):
            read += len(text) == len(texts[0]) and _of_digits(text, pattern) < _LATEST
    return pattern if read >= _DECIDED * len(texts) else ""


@functools.lru_cache(maxsize=10_000)
def _skeleton(text: str) -> tuple[str, bool]:
    """What stands between a time's parts, and whether letters are among them. Of a form and a text
    that do not share it none needs to be tried, which is slow.

    >>> _skeleton("3.10.2014 9:05 PM") == _skeleton("%d.%m.%Y %I:%M %p")
    True
    """
    plain = re.sub(r"(?<=\s)[+-]\d\d:?\d\d\b|%z", "+", _OFFSET.sub("", _with_offset(text)))
    letters = re.search("%[aAbBp]", plain) if "%" in plain else re.search("[A-Za-z]", plain)
    return re.sub("%[A-Za-z]|[A-Za-z0-9]+", "", plain), bool(letters)


def _share(form: TimeFormat, texts: Sequence[str]) -> float:
    return sum(seconds >= 0 for seconds in _read(form, texts)) / len(texts)


def _read(form: TimeFormat, texts: Sequence[str]) -> tuple[float, ...]:
    """The seconds of each text; -1 where it is none."""

    def read(text: str) -> float:
        try:
            return form.seconds(text)
        except ValueError:
            return -1.0

    return tuple(map(read, texts))
