"""Short item ids: which index, and so which id, each raw item gets."""

import re
from collections.abc import Iterable

import numpy as np
from jaxtyping import Int32, Int64

from recalign.errors import UserError

METHODS = ("random", "sequential", "semantic")

SEQUENTIAL_WARNING = (
    "warning: sequential item ids number the items in the order of the users' sequences, held-out"
    " items included, as P5 did: the next number is often the answer. Use them only to show that"
    " leak, never for results."
)


def item_order(
    method: str, raw_ids: list[str], item: Int32[np.ndarray, " n"], seed: int
) -> Int64[np.ndarray, " items"]:
    """The items in index order: the item at position i gets index i and the id of `item_id(i)`, or
    a semantic one (semantic_ids.py).

    Args:
        method: "random" and "semantic": a seeded permutation of the items sorted by raw id, so the
            same items get the same ids in whatever order their log came. "sequential": by first
            appearance in the sequences.
        raw_ids: the items' raw ids, every one occurring in `item`.
        item: indices into `raw_ids`, sequence by sequence in time order.
        seed: decides the permutation.
    """
    check_method(method)
    if method != "sequential":
        by_raw_id = np.asarray(sorted(range(len(raw_ids)), key=raw_ids.__getitem__), np.int64)
        # RandomState's streams never change between numpy versions; a Generator's may.
        shuffler = np.random.RandomState(np.random.MT19937(np.random.SeedSequence([seed, 0])))
        return by_raw_id[shuffler.permutation(len(raw_ids))]
    items, first = np.unique(item, return_index=True)
    return items[np.argsort(first)].astype(np.int64)


def check_method(method: str) -> None:
    """Raises a UserError for a method that is not there."""
    if method not in METHODS:
        raise UserError(f"--item_ids {method!r} is none of {', '.join(METHODS)}")


def item_id(index: int) -> str:
    """The short id of a catalogue index.

    >>> item_id(0)
    'I1'
    """
    return f"I{index + 1}"


def look_alike(log_ids: Iterable[str], ids: Iterable[str]) -> bool:
    """Whether any id of a log has the form of a short one, so that an id may be meant as either.

    >>> look_alike(["B7", "I17"], ["I1", "I2"]), look_alike(["B7", "Item17"], ["I1", "I2"])
    (True, False)
    """
    forms = {_form(raw) for raw in log_ids if raw.startswith("I")}  # as short ids do
    return bool(forms) and not forms.isdisjoint(map(_form, ids))


def _form(id_: str) -> str:
    """An id without its numbers.

    >>> _form("I17"), _form("Ia12_b7")
    ('I0', 'Ia0_b0')
    """
    return re.sub("[0-9]+", "0", id_)
