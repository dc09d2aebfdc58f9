"""Single values of a log: ids and ratings, checked; and texts of items, as they come."""

import ast
import dataclasses
import html
import json
import math
import re

from recalign.data.text import as_price, clean_text, shorten

_SURROGATE = re.compile("[\ud800-\udfff]")
_NO_VALUE = frozenset({"", "none", "null", "nan", "n/a", "-", "—", "(no genres listed)"})
_LONGEST_PRICE = 40

_OPINIONS = {
    **dict.fromkeys(("true", "yes", "y", "t", "like", "liked", "recommended", "up"), 1.0),
    **dict.fromkeys(("false", "no", "n", "f", "dislike", "disliked", "not recommended"), 0.0),
    **{"positive": 1.0, "down": 0.0, "negative": 0.0},
}
# "4", "4,5", "4/5", "4 stars", "4.0 out of 5 stars", "80%"
_LARGEST_RATING = 3.4028234e38  # which a dataset keeps
_RATING = re.compile(r"([-+]?\d+(?:[.,]\d+)?)\s*(?:/\s*\d+|out of \d+(?: stars?)?|stars?|%)?")
_STARS = re.compile("(?=.*★)(★*)☆*")

# numpy's way to write a list of texts; pandas writes it into CSV.
_QUOTED = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_NUMPY_LIST = re.compile(rf"\[\s*{_QUOTED}(?:\s+{_QUOTED})+\s*\]")
_NUMPY_TEXT = re.compile(_QUOTED)
_ARRAY = re.compile(r"array\((\[.*\])(?:,\s*dtype=[^)]*)?\)", re.DOTALL)
_GAP = re.compile(rf"({_QUOTED})|\bnan\b", re.IGNORECASE)
_BYTES = re.compile(rf"b{_QUOTED}")
# Lists whose texts are in no quotes, or quotes without a bracket.
_LISTED = re.compile(rf"[\[{{]([^\[\]{{}}]*)[\]}}]|({_QUOTED}(?:,\s*{_QUOTED})+)")
_LISTED_TEXT = re.compile(rf"\s*({_QUOTED}|[^,]+)")
_NAMES = ("name", "title", "label", "value")
"""The key of what an object in a list is called, as in [{'id': 28, 'name': 'Action'}]."""


HOSTILE = (ValueError, ArithmeticError, TypeError, RecursionError, MemoryError)
"""What reading a value may raise: numbers without end and lists without bottom are bad values."""


def reason_of(error: Exception) -> str:
    """Why a value is none, in one line."""
    said = str(error).strip().splitlines()
    return said[0][:200] if said and isinstance(error, ValueError) else f"no value ({error!r})"


def parse_id(value: object) -> str:
    """An id as text, without white space at its ends; a ValueError where it is absent, empty or no
    text."""
    if value is None or isinstance(value, float | bool | list | dict):
        if isinstance(value, float) and value.is_integer():
            return str(int(value))
        raise ValueError("no id")
    text = str(value).strip()
    if not text:
        raise ValueError("an empty id")
    if _SURROGATE.search(text):
        raise ValueError("an id with half a surrogate pair")
    if "\n" in text or "\r" in text:
        raise ValueError("an id with a line break (is a quote missing before it?)")
    return text


def id_or_nothing(value: object) -> str:
    """An id as `parse_id` reads it; "" where there is none."""
    try:
        return parse_id(value)
    except HOSTILE:
        return ""


@dataclasses.dataclass(frozen=True)
class RatingFormat:
    """How the ratings of a column are read."""

    absent: frozenset[str] = frozenset()  # what stands for none, as text; if any, so does ""
    negative: bool = False  # the scale goes below 0

    def stars(self, value: object) -> float:
        """A rating: a finite number, NaN where there is none; yes is 1 and no is 0. Anything else
        is a ValueError."""
        if isinstance(value, bool):
            return float(value)
        rating = math.nan
        if not isinstance(value, list | dict):
            try:
                rating = float(value)  # type: ignore[arg-type]
            except (TypeError, ValueError, OverflowError):
                text = "" if value is None else str(value).strip().lower()
                if text in _OPINIONS:
                    return _OPINIONS[text]
                if match := _RATING.fullmatch(text):
                    rating = float(match[1].replace(",", "."))
                elif match := _STARS.fullmatch(text):
                    rating = float(len(match[1]))
        if self.absent and self._is_absent(value, rating):
            return math.nan
        if math.isnan(rating):
            raise ValueError(
                "no rating (a number is needed; --no_rating says what stands for none)"
            )
        if not abs(rating) <= _LARGEST_RATING or (rating < 0 and not self.negative):
            raise ValueError(
                "no rating (0 or more is needed; what stands for none: --no_rating; on a scale with"
                " negative numbers give --like_threshold)"
            )
        return rating

    def _is_absent(self, value: object, rating: float) -> bool:
        text = "" if value is None or value != value else str(value).strip()
        return not text or text in self.absent or (rating, True) in map(_as_number, self.absent)


def _as_number(text: str) -> tuple[float, bool]:
    try:
        return float(text), True
    except ValueError:
        return 0.0, False


def item_text(value: object) -> str:
    """A text field of an item: lists are joined, what stands for nothing is "".

    >>> item_text(["A doll.", "", "For ages 3+."]), item_text(None), item_text("None")
    ('A doll. For ages 3+.', '', '')
    >>> item_text("['Great pot', 'Holds 1 l']"), item_text("[]"), item_text("[REC]")
    ('Great pot Holds 1 l', '', '[REC]')
    """
    if isinstance(value, str):
        value = written_list(value)
    if isinstance(value, list | tuple):
        return " ".join(filter(None, map(item_text, value)))
    if isinstance(value, dict):
        named = [value[key] for key in _NAMES if key in value]
        return item_text(named[0]) if named else ""
    if value is None or isinstance(value, bool) or value != value:
        return ""
    text = str(value)
    if _BYTES.fullmatch(text):
        text = _of_bytes(text)
    return "" if len(text) < 20 and text.strip().lower() in _NO_VALUE else text


def _of_bytes(text: str) -> str:
    """What stands in bytes that were written out, as tables of TensorFlow Datasets have them.

    >>> _of_bytes("b'Caf\\\\xc3\\\\xa9'")
    'Café'
    """
    try:
        return ast.literal_eval(text).decode("utf-8", "replace")
    except (ValueError, SyntaxError):
        return text


def written_list(text: str, numbers: bool = False) -> object:
    """The list that a text writes out as Python, JSON or numpy do; the text where it writes none.

    A list of numbers alone stays text unless `numbers`: `[1408]` is a film.

    >>> written_list("['Action', 'War']"), written_list('["a", null]'), written_list("['a' 'b']")
    (['Action', 'War'], ['a', None], ['a', 'b'])
    >>> written_list("['a', nan]"), written_list("array(['a', 'b'], dtype=object)")
    (['a', None], ['a', 'b'])
    """
    bare = text.strip()
    if array := _ARRAY.fullmatch(bare):
        bare = array[1]
    if len(bare) < 2 or (bare[0], bare[-1]) not in (("[", "]"), ("(", ")"), ("{", "}")):
        return text
    if _NUMPY_LIST.fullmatch(bare):
        return [ast.literal_eval(part) for part in _NUMPY_TEXT.findall(bare)]
    without_gaps = _GAP.sub(lambda part: part[1] or "None", bare)
    for read, what in ((ast.literal_eval, without_gaps), (json.loads, bare)):
        try:
            found = read(what)
            str(found)  # a number may be too long to be written out
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
        if isinstance(found, set | frozenset):
            found = sorted(found, key=str)
        if isinstance(found, dict) and found and not any(key in found for key in _NAMES):
            return text
        if isinstance(found, dict | list | tuple) and (
            not found or numbers or not all(isinstance(part, int | float) for part in found)
        ):
            return found
    return text


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
    if isinstance(value, str):
        value = written_list(value, numbers=True)
    price = as_price(item_text(value))
    return price if len(price) <= _LONGEST_PRICE else ""


def item_categories(value: object, spaced: bool = False) -> list[str]:
    """Categories from general to special.

    Amazon 2014 gives a list of such lists, of which the first is the product's main place; tables
    give one text, separated by `|`, ` > `, `>>` or `;` (`spaced`: or spaces, as RecBole's), or a
    list written out, in quotes or not.

    >>> item_categories([["Toys & Games", "Dolls"], ["Gifts"]])
    ['Toys & Games', 'Dolls']
    >>> item_categories("Adventure|Children"), item_categories('{Action,"Sci Fi"}')
    (['Adventure', 'Children'], ['Action', 'Sci Fi'])
    >>> item_categories("'Toys, Games', 'Dolls'"), item_categories("Action War", spaced=True)
    (['Toys, Games', 'Dolls'], ['Action', 'War'])
    """
    if isinstance(value, str):
        listed = written_list(value, numbers=True)
        if isinstance(listed, str):
            if found := _LISTED.fullmatch(listed.strip()):
                inner = _LISTED_TEXT.findall(found[1] or found[2] or "")
                return item_categories([_unquoted(part.strip()) for part in inner])
            parts = re.split(r"\||>>|\s>\s|;", html.unescape(listed))
            if spaced and len(parts) == 1:
                parts = listed.split()
            return list(filter(None, (item_text(part.strip()) for part in parts)))
        value = listed
    if isinstance(value, list | tuple):
        if value and isinstance(value[0], list | tuple):
            return item_categories(value[0])
        return list(filter(None, map(item_text, value)))
    return list(filter(None, [item_text(value)]))


def _unquoted(text: str) -> str:
    return text[1:-1] if _NUMPY_TEXT.fullmatch(text) else text
