"""From checked values, line by line, to the arrays of a log and the table of its items."""

import abc
import array
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from recalign.data.interactions import Interactions, ItemTable
from recalign.data.readers.joining import Joining
from recalign.data.readers.tally import Tally
from recalign.data.readers.times import TimeFormat
from recalign.data.readers.values import (
    HOSTILE,
    RatingFormat,
    item_categories,
    item_price,
    item_text,
    parse_id,
    reason_of,
    review_text,
)
from recalign.data.text import MAXIMUM_REVIEW, MAXIMUM_SUMMARY
from recalign.errors import UserError

# Seconds since 1970 stay below the first bound until the year 5138.
_UNITS = ("seconds", "milliseconds", "microseconds", "nanoseconds")
TIME_UNIT_BOUNDS = (1e11, 1e14, 1e17)


class InteractionCollector(abc.ABC):
    """Checks the values of interactions, in the order of their lines, and stores the good ones."""

    def __init__(
        self,
        tally: Tally,
        *,
        time: TimeFormat | None,
        rating: RatingFormat | None,
        has_review: bool = False,
        has_summary: bool = False,
    ) -> None:
        """Columns that the log does not have, None, are not looked at."""
        self._tally = tally
        self._has_time = time is not None
        self._has_rating = rating is not None
        self._seconds = time.seconds if time else lambda _: 0.0
        self._stars = rating.stars if rating else lambda _: 0.0
        self._has_review = has_review
        self._has_summary = has_summary

    def add(
        self, line: int, user: object, item: object, time: object, rating: object, *texts: object
    ) -> None:
        """One interaction, of values as the file has them, `texts` a review and its summary; a
        value that is none makes it a bad line, but texts may be missing."""
        value = user
        try:
            user_id = parse_id(user)
            value = item
            item_id = parse_id(item)
            value = time
            seconds = self._seconds(time)
            value = rating
            stars = self._stars(rating)
            value = texts
            review = review_text(texts[0], MAXIMUM_REVIEW) if self._has_review else ""
            summary = review_text(texts[1], MAXIMUM_SUMMARY) if self._has_summary else ""
        except HOSTILE as error:
            self._tally.reject(line, reason_of(error), value, self._tally.taken)
            return
        if math.isnan(stars):
            self._tally.unrated += 1
            return
        self._tally.accepted += 1
        self._store(line, user_id, item_id, seconds, stars, review, summary)

    @abc.abstractmethod
    def _store(
        self, line: int, user: str, item: str, time: float, stars: float, review: str, summary: str
    ) -> None:
        """Keeps a good interaction; what the log has no column for is 0 or ""."""


class LogBuilder(InteractionCollector):
    """Collects a log in memory: 28 bytes for an interaction, each id once, and the texts."""

    def __init__(self, tally: Tally, **columns: Any) -> None:
        """An empty log with these columns (`time`, `rating`, `has_review`, …)."""
        super().__init__(tally, **columns)
        self._users: dict[str, int] = {}
        self._items: dict[str, int] = {}
        self._files: list[tuple[int, str]] = []
        self._line = array.array("q")
        self._user = array.array("i")
        self._item = array.array("i")
        self._time = array.array("d")
        self._rating = array.array("f")
        self._reviews = _Texts()
        self._summaries = _Texts()

    def _store(
        self, line: int, user: str, item: str, time: float, stars: float, review: str, summary: str
    ) -> None:
        if not self._files or self._files[-1][1] != self._tally.file:
            self._files.append((len(self._line), self._tally.file))
        self._line.append(line)
        self._user.append(self._users.setdefault(user, len(self._users)))
        self._item.append(self._items.setdefault(item, len(self._items)))
        if self._has_time:
            self._time.append(time)
        if self._has_rating:
            self._rating.append(stars)
        if self._has_review:
            self._reviews.append(review)
            self._summaries.append(summary)

    def build(self) -> Interactions:
        """The log; a UserError where there is no good line at all."""
        if not self._tally.accepted:
            raise no_interactions(self._tally)
        log = Interactions(
            user_ids=list(self._users),
            item_ids=list(self._items),
            user=np.frombuffer(self._user, np.int32),
            item=np.frombuffer(self._item, np.int32),
            timestamp=np.frombuffer(self._time, np.float64) if self._has_time else None,
            rating=np.frombuffer(self._rating, np.float32) if self._has_rating else None,
            review_text=self._reviews.build() if self._has_review else None,
            summary=self._summaries.build() if self._has_review else None,
        )
        return self._in_one_time_unit(log)

    def _in_one_time_unit(self, log: Interactions) -> Interactions:
        """Rejects the lines whose time is in another unit than most lines' times."""
        if log.timestamp is None:
            return log
        unit = np.digitize(log.timestamp, TIME_UNIT_BOUNDS)
        usual = int(np.bincount(unit).argmax())
        odd = np.flatnonzero(unit != usual)
        for position in odd.tolist():
            file = next(name for first, name in reversed(self._files) if first <= position)
            reject_time_unit(
                self._tally, self._line[position], log.timestamp[position].item(), usual, file
            )
        return _without(log, odd) if len(odd) else log


def no_interactions(tally: Tally) -> UserError:
    """What ends the reading of a file without a good line."""
    first = f": {tally.samples[0]}" if tally.samples else ""
    return UserError(f"{tally.path}: no interactions{first}")


def reject_time_unit(tally: Tally, line: int, time: float, usual: int, file: str = "") -> None:
    """Makes an accepted line a bad one: its time is in another unit than most lines' times."""
    unit = _UNITS[np.digitize(time, TIME_UNIT_BOUNDS)]
    tally.accepted -= 1
    tally.reject(line, f"mixed time units ({unit} among {_UNITS[usual]})", time, file=file)


class _Texts:
    """A column of texts as Arrow keeps them: their bytes alone, no object each."""

    _CHUNK = 50_000

    def __init__(self) -> None:
        self._chunks: list[pa.Array] = []
        self._latest: list[str] = []

    def append(self, text: str) -> None:
        self._latest.append(text)
        if len(self._latest) == self._CHUNK:
            self._flush()

    def build(self) -> pa.ChunkedArray:
        self._flush()
        return pa.chunked_array(self._chunks, pa.large_string())

    def _flush(self) -> None:
        self._chunks.append(pa.array(self._latest, pa.large_string()))
        self._latest = []


def _without(log: Interactions, positions: np.ndarray) -> Interactions:
    """The log without some interactions, its ids again those that occur, in order."""
    stays = np.ones(len(log), bool)
    stays[positions] = False

    def compact(codes: np.ndarray, ids: list[str]) -> tuple[np.ndarray, list[str]]:
        encoded = pa.array(codes[stays]).dictionary_encode()  # in the order of appearance
        return encoded.indices.to_numpy(), [ids[code] for code in encoded.dictionary.to_pylist()]

    def kept(column: Any) -> Any:
        if column is None or isinstance(column, np.ndarray):
            return None if column is None else column[stays]
        return column.filter(pa.array(stays))

    user, user_ids = compact(log.user, log.user_ids)
    item, item_ids = compact(log.item, log.item_ids)
    others = (log.timestamp, log.rating, log.review_text, log.summary)
    return Interactions(user_ids, item_ids, user, item, *map(kept, others))


class ItemBuilder:
    """Collects what is known of the items of a log; of an item's records the first with a title
    counts."""

    def __init__(
        self,
        tally: Tally,
        wanted: Mapping[str, int] | None,
        join: str = "",
        spaced_categories: bool = False,
    ) -> None:
        """Items that are not wanted are read past; `wanted` and `join` are as `Joining` takes them,
        `spaced_categories` as `item_categories` does."""
        self._tally = tally
        self._spaced = spaced_categories
        self._joining = Joining(wanted, join)
        self._records: dict[str, tuple[str, str, str, list[str], str]] = {}
        self._repeats = 0

    def add(self, line: int, item: object, *texts: object) -> None:
        """One record: title, brand, price, categories and description, None for what there is not;
        without an id it is a bad line."""
        value: object = item
        try:
            raw_id = parse_id(item)
            wanted = self._joining.of_log(raw_id)
            if wanted is None:
                self._tally.accepted += 1
                return
            value = texts
            title, brand, price, categories, description = texts
            record = (
                item_text(title),
                item_text(brand),
                item_price(price),
                item_categories(categories, self._spaced),
                item_text(description),
            )
        except HOSTILE as error:
            self._tally.reject(line, reason_of(error), value, self._tally.taken)
            return
        self._tally.accepted += 1
        if wanted in self._records:
            self._repeats += 1
            if self._records[wanted][0]:
                return
        self._records[wanted] = record

    @property
    def joined(self) -> bool:
        """Whether any record was of an item that is wanted."""
        return bool(self._records)

    def build(self) -> tuple[ItemTable, tuple[str, ...]]:
        """The table, and notes for a person; a UserError where none of the log's items is in it."""
        notes = []
        if self._repeats:
            notes.append(f"{self._repeats:,} records repeat an item: its first title counts")
        if missing := self._joining.missing_note(self._tally.path, self._records):
            notes.append(missing)
        columns = list(zip(*self._records.values(), strict=True)) or [()] * 5
        titles, brands, prices, categories, descriptions = map(list, columns)
        table = ItemTable(list(self._records), titles, brands, prices, descriptions, categories)
        return table, tuple(notes)
