"""From checked values, line by line, to the arrays of a log and the table of its items."""

import array

import numpy as np

from recalign.data.interactions import Interactions, ItemTable
from recalign.data.readers.tally import Tally
from recalign.data.readers.values import (
    item_categories,
    item_price,
    item_text,
    parse_id,
    parse_rating,
    parse_time,
)
from recalign.errors import UserError

# Seconds since 1970 stay below the first bound until the year 5138.
_UNITS = ("seconds", "milliseconds", "microseconds", "nanoseconds")
_UNIT_BOUNDS = (1e11, 1e14, 1e17)


class LogBuilder:
    """Collects interactions in the order of their lines; 28 bytes each, and each id once."""

    def __init__(self, tally: Tally, *, has_time: bool, has_rating: bool) -> None:
        """Times and ratings of a log that has none are not looked at."""
        self._tally = tally
        self._has_time = has_time
        self._has_rating = has_rating
        self._users: dict[str, int] = {}
        self._items: dict[str, int] = {}
        self._line = array.array("q")
        self._user = array.array("i")
        self._item = array.array("i")
        self._time = array.array("d")
        self._rating = array.array("f")

    @property
    def item_ids(self) -> set[str]:
        """The raw ids of all items so far."""
        return set(self._items)

    def add(
        self, line: int, user: object, item: object, time: object = None, rating: object = None
    ) -> None:
        """One interaction; a value that is none makes it a bad line."""
        value = user
        try:
            user_id = parse_id(user)
            value = item
            item_id = parse_id(item)
            value = time
            seconds = parse_time(time) if self._has_time else 0.0
            value = rating
            stars = parse_rating(rating) if self._has_rating else 0.0
        except ValueError as error:
            self._tally.reject(line, str(error), value)
            return
        self._tally.accepted += 1
        self._line.append(line)
        self._user.append(self._users.setdefault(user_id, len(self._users)))
        self._item.append(self._items.setdefault(item_id, len(self._items)))
        if self._has_time:
            self._time.append(seconds)
        if self._has_rating:
            self._rating.append(stars)

    def build(self) -> Interactions:
        """The log.

        Raises:
            UserError: no good line at all.
        """
        if not self._tally.accepted:
            first = f": {self._tally.samples[0]}" if self._tally.samples else ""
            raise UserError(f"{self._tally.path}: no interactions{first}")
        log = Interactions(
            user_ids=list(self._users),
            item_ids=list(self._items),
            user=np.frombuffer(self._user, np.int32),
            item=np.frombuffer(self._item, np.int32),
            timestamp=np.frombuffer(self._time, np.float64) if self._has_time else None,
            rating=np.frombuffer(self._rating, np.float32) if self._has_rating else None,
        )
        return self._in_one_time_unit(log)

    def _in_one_time_unit(self, log: Interactions) -> Interactions:
        """Rejects the lines whose time is in another unit than most lines' times."""
        if log.timestamp is None:
            return log
        unit = np.digitize(log.timestamp, _UNIT_BOUNDS)
        usual = np.bincount(unit).argmax()
        odd = np.flatnonzero(unit != usual)
        for position in odd.tolist():
            self._tally.accepted -= 1
            self._tally.reject(
                self._line[position],
                f"mixed time units ({_UNITS[unit[position]]} among {_UNITS[usual]})",
                log.timestamp[position].item(),
            )
        return _without(log, odd) if len(odd) else log


def _without(log: Interactions, positions: np.ndarray) -> Interactions:
    """The log without some interactions, its ids again those that occur, in order."""

    def compact(codes: np.ndarray, ids: list[str]) -> tuple[np.ndarray, list[str]]:
        present, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
        by_appearance = np.argsort(first)
        new_code = np.empty(len(present), np.int32)
        new_code[by_appearance] = np.arange(len(present), dtype=np.int32)
        return new_code[inverse], [ids[code] for code in present[by_appearance].tolist()]

    def kept(column: np.ndarray | None) -> np.ndarray | None:
        return None if column is None else np.delete(column, positions)

    user, user_ids = compact(np.delete(log.user, positions), log.user_ids)
    item, item_ids = compact(np.delete(log.item, positions), log.item_ids)
    return Interactions(user_ids, item_ids, user, item, kept(log.timestamp), kept(log.rating))


class ItemBuilder:
    """Collects what is known of the items of a log; of an item's records the first with a title
    counts."""

    def __init__(self, tally: Tally, wanted: set[str]) -> None:
        """Items that are not wanted are read past."""
        self._tally = tally
        self._wanted = wanted
        self._records: dict[str, tuple[str, str, str, list[str], str]] = {}
        self._repeats = 0

    def add(
        self,
        line: int,
        item: object,
        title: object = None,
        brand: object = None,
        price: object = None,
        categories: object = None,
        description: object = None,
    ) -> None:
        """One record; without an id it is a bad line."""
        try:
            raw_id = parse_id(item)
        except ValueError as error:
            self._tally.reject(line, str(error), item)
            return
        self._tally.accepted += 1
        if raw_id not in self._wanted:
            return
        if raw_id in self._records:
            self._repeats += 1
            if self._records[raw_id][0]:
                return
        self._records[raw_id] = (
            item_text(title),
            item_text(brand),
            item_price(price),
            item_categories(categories),
            item_text(description),
        )

    def build(self) -> tuple[ItemTable, tuple[str, ...]]:
        """The table, and notes for a person."""
        notes = []
        if self._repeats:
            notes.append(f"{self._repeats:,} records repeat an item: its first title counts")
        if missing := len(self._wanted) - len(self._records):
            notes.append(f"{missing:,} of the log's {len(self._wanted):,} items are not in it")
        columns = list(zip(*self._records.values(), strict=True)) or [()] * 5
        titles, brands, prices, categories, descriptions = map(list, columns)
        table = ItemTable(list(self._records), titles, brands, prices, descriptions, categories)
        return table, tuple(notes)
