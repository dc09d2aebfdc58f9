"""Single values of a log: ids, times and ratings, checked; and texts of items, as they come."""

import ast
import datetime
import math
import re

from recalign.data.text import as_price, clean_text, shorten

_SURROGATE = re.compile("[\ud800-\udfff]")
_NO_VALUE = frozenset({"", "none", "null", "nan", "n/a", "-", "—", "(no genres listed)"})
_LONGEST_PRICE = 40


def parse_id(value: object) -> str:
    """An id as text, without white space at its ends.

    Raises:
        ValueError: absent, empty or no text.
    """
    if value is None or isinstance(value, float | bool | list | dict):
        if isinstance(value, float) and value.is_integer():
            return str(int(value))
        raise ValueError("no id")
    text = str(value).strip()
    if not text:
        raise ValueError("an empty id")
    if _SURROGATE.search(text):
        raise ValueError("an id with half a surrogate pair")
    return text


def parse_time(value: object) -> float:
    """A time as a number: a number itself, or ISO 8601 as seconds since 1970 (UTC if unsaid).

    Raises:
        ValueError: absent, negative, not finite, or no time.
    """
    if isinstance(value, datetime.datetime):
        return _seconds(value)
    if isinstance(value, datetime.date):
        return _seconds(datetime.datetime(value.year, value.month, value.day))
    try:
        time = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        try:
            return _seconds(datetime.datetime.fromisoformat(str(value).strip()))
        except ValueError:
            raise ValueError("no time (a number or ISO 8601 is needed)") from None
    if not math.isfinite(time) or time < 0 or isinstance(value, bool):
        raise ValueError("no time (0 or more and finite is needed)")
    return time


def _seconds(moment: datetime.datetime) -> float:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    seconds = moment.timestamp()
    if seconds < 0:
        raise ValueError("a time before 1970")
    return seconds


def parse_rating(value: object) -> float:
    """A rating: a finite number, not negative.

    Raises:
        ValueError: anything else.
    """
    try:
        rating = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ValueError("no rating (a number is needed)") from None
    if not math.isfinite(rating) or rating < 0 or isinstance(value, bool):
        raise ValueError("no rating (0 or more and finite is needed)")
    return rating


def item_text(value: object) -> str:
    """A text field of an item: lists are joined, what stands for nothing is "".

    >>> item_text(["A doll.", "", "For ages 3+."]), item_text(None), item_text("None")
    ('A doll. For ages 3+.', '', '')
    """
    if isinstance(value, list | tuple):
        return " ".join(filter(None, map(item_text, value)))
    if value is None or isinstance(value, dict | bool) or value != value:
        return ""
    text = str(value)
    return "" if len(text) < 20 and text.strip().lower() in _NO_VALUE else text


def review_text(value: object, maximum: int) -> str:
    """A review or its summary, clean and on one line; "" where there is none.

    >>> review_text("Great &amp; small.\\nBuy it!", 100)
    'Great & small. Buy it!'
    """
    return shorten(clean_text(item_text(value)), maximum)


def item_price(value: object) -> str:
    """A price as it is shown, "" where unknown; the 2018 crawl has style sheets among them."""
    if isinstance(value, int | float):
        return as_price(value)
    price = as_price(item_text(value))
    return price if len(price) <= _LONGEST_PRICE else ""


def item_categories(value: object) -> list[str]:
    """Categories from general to special.

    Amazon 2014 gives a list of such lists, of which the first is the product's main place; tables
    give one text, separated by `|`, or a list written out.

    >>> item_categories([["Toys & Games", "Dolls"], ["Gifts"]])
    ['Toys & Games', 'Dolls']
    >>> item_categories("Adventure|Children")
    ['Adventure', 'Children']
    """
    if isinstance(value, str):
        written_out = value.strip()
        if written_out.startswith("[") and written_out.endswith("]"):
            try:
                return item_categories(ast.literal_eval(written_out))
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                return [value]
        return list(filter(None, (item_text(part.strip()) for part in value.split("|"))))
    if isinstance(value, list | tuple):
        if value and isinstance(value[0], list | tuple):
            return item_categories(value[0])
        return list(filter(None, map(item_text, value)))
    return list(filter(None, [item_text(value)]))
