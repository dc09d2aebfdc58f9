"""Checks of the values of JSON that was read back, from which a table of field -> check is made."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Check = Callable[[Any], bool]

_LARGEST = 2**53


def whole(least: int, most: int = _LARGEST) -> Check:
    """An integer in a range; no truth value is one."""
    return lambda value: type(value) is int and least <= value <= most


def number(least: float = -1e300, most: float = 1e300) -> Check:
    """A number in a range: NaN is in none, and an integer of 400 digits is compared as it is."""
    return lambda value: type(value) in (int, float) and least <= value <= most


def text(value: Any) -> bool:
    """A string that is not empty."""
    return isinstance(value, str) and value != ""


def flag(value: Any) -> bool:
    """True or false."""
    return isinstance(value, bool)


def one_of(*values: str) -> Check:
    """One of some strings."""
    return lambda value: isinstance(value, str) and value in values


def or_null(check: Check) -> Check:
    """What the check allows, or null."""
    return lambda value: value is None or check(value)


def also(check: Check, condition: Check) -> Check:
    """What the check allows and the condition holds of."""
    return lambda value: check(value) and condition(value)


def list_of(check: Check, lengths: Sequence[int] | None = None) -> Check:
    """A list whose elements the check allows, of one of some lengths."""
    return lambda value: (
        isinstance(value, list)
        and (lengths is None or len(value) in lengths)
        and all(map(check, value))
    )


def map_of(check: Check) -> Check:
    """An object with fields of any name whose values the check allows."""
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def object_of(fields: Mapping[str, Check]) -> Check:
    """An object with these fields; further ones may be there."""
    return lambda value: isinstance(value, dict) and first_fault(value, fields) is None


def first_fault(value: Mapping[str, Any], fields: Mapping[str, Check]) -> str | None:
    """The first field that its check refuses; one that is missing is null.

    >>> first_fault({"users": -5}, {"users": whole(1)})
    'users'
    """
    return next((name for name, check in fields.items() if not check(value.get(name))), None)
