"""Whom to recommend to: the histories of many users, as numbers of a run's catalogue."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Int32, Int64

from recalign.data.interactions import Interactions
from recalign.data.order import first_interactions, time_order
from recalign.data.readers.read import read_interactions
from recalign.data.readers.sources import FORMATS, ReadOptions, find_log, format_of
from recalign.errors import UserError, shown
from recalign.trainer.item_index import NO_ITEM, NOBODY, ItemIndex, LogItems

if TYPE_CHECKING:
    from recalign.data.prepared import PreparedDataset


class LogSource(NamedTuple):
    """A log and how it is read, as `recalign prepare` takes it."""

    path: str | os.PathLike  # a file, a folder of files or a pattern of their names
    format: str | None = None  # one of `readers.FORMATS`; None to tell it from the file's name
    columns: Mapping[str, str] = {}  # role -> column; what is not given is guessed
    events: Sequence[str] = ()  # the kinds of events that count; all where there are none


@dataclasses.dataclass(frozen=True)
class Histories:
    """Users and what each had, the oldest first."""

    users: Sequence[str]  # their raw IDs
    rows: Int64[np.ndarray, " U"]  # int64 [U], their numbers in the dataset, NOBODY for strangers
    items: Int32[np.ndarray, " total"]  # int32 [total], one user's after the other's
    row_splits: Int64[np.ndarray, " U_and_one"]  # int64 [U + 1], where each user's begin

    def __len__(self) -> int:
        return len(self.users)

    def of(self, number: int) -> Int32[np.ndarray, " n"]:
        """The history of the user with this number here."""
        return self.items[self.row_splits[number] : self.row_splits[number + 1]]

    @property
    def digest(self) -> str:
        """Of everything: two of the same digest are the same."""
        digest = hashlib.sha256("\n".join(self.users).encode())
        for column in (self.rows, self.items, self.row_splits):
            digest.update(column.tobytes())
        return digest.hexdigest()


def histories_of_dataset(dataset: PreparedDataset) -> Histories:
    """Every user's whole sequence, in the dataset's order; validation and test items included."""
    train = dataset.sequences("train")
    shown, rest = np.diff(train.row_splits), np.diff(train.unseen_splits)
    row_splits = np.concatenate([[0], np.cumsum(shown + rest)])
    items = np.empty(row_splits[-1], np.int32)
    items[_places(row_splits[:-1], shown)] = train.items
    items[_places(row_splits[:-1] + shown, rest)] = train.unseen
    return Histories(train.users, train.rows, items, row_splits)


def _places(starts: Int64[np.ndarray, " U"], counts: Int64[np.ndarray, " U"]) -> np.ndarray:
    """starts[0], starts[0] + 1, … (counts[0] of them), starts[1], …

    >>> _places(np.array([0, 10]), np.array([2, 3])).tolist()
    [0, 1, 10, 11, 12]
    """
    before = np.cumsum(counts) - counts
    return np.arange(counts.sum()) + np.repeat(starts - before, counts)


def histories_of_log(
    source: LogSource, items: ItemIndex, dataset: PreparedDataset
) -> tuple[Histories, list[str]]:
    """The histories of a log, in the order in which its users first appear.

    Items are known as `ItemIndex.of_log` has them, users by the raw ID. Of a user's repeats of an
    item the first stays, unless the dataset has repeats. Beside the histories come lines for a
    person: what was guessed and what was left out. A log without any known item is refused.
    """
    log, order, known, notices = _read(source, items)
    if not _has_repeats(histories_of_dataset(dataset)):
        order = first_interactions(log, order)
    notices += known.notices
    if known.unknown:
        notices.append(
            f"{known.unknown:,} of {len(log.item_ids):,} items are not in the catalogue: left out"
        )
    if not len(order):
        why = known.notices or [f"no item of it is in the catalogue, as {shown(log.item_ids[0])}"]
        raise UserError(f"{source.path}: {why[0]}")
    counts = np.bincount(log.user[order], minlength=len(log.user_ids))
    has_any = np.flatnonzero(counts)
    if without := len(counts) - len(has_any):
        notices.append(f"{without:,} of {len(counts):,} users have no known item: left out")
    row_of_user = {user: row for row, user in enumerate(dataset.sequences("train").users)}
    users = [log.user_ids[number] for number in has_any]
    rows = np.array([row_of_user.get(user, NOBODY) for user in users], np.int64)
    row_splits = np.concatenate([[0], np.cumsum(counts[has_any])]).astype(np.int64)
    numbers = known.numbers[log.item[order]].astype(np.int32)
    return Histories(users, rows, numbers, row_splits), notices


def _has_repeats(histories: Histories) -> bool:
    """Whether somebody had an item twice: `prepare --keep_repeats`."""
    user = np.repeat(np.arange(len(histories)), np.diff(histories.row_splits))
    pairs = user * (histories.items.max(initial=0) + 1) + histories.items
    return len(np.unique(pairs)) < len(pairs)


def exclusions_of_log(
    source: LogSource, items: ItemIndex, histories: Histories
) -> tuple[dict[str, Int32[np.ndarray, " n"]], list[str]]:
    """The items that are not to be recommended to a user, by the user's raw ID.

    The log has pairs of user and item, of which some must be known; beside the exclusions, int32,
    come lines for a person.
    """
    log, order, known, notices = _read(source, items)
    notices += known.notices
    users = set(histories.users)
    asked = np.array([user in users for user in log.user_ids])
    order = order[asked[log.user[order]]]
    if known.unknown or not asked.all():
        notices.append(
            f"of {len(log.user_ids):,} users and {len(log.item_ids):,} items,"
            f" {np.count_nonzero(~asked):,} users and {known.unknown:,} items are unknown: left out"
        )
    if not len(order):
        why = known.notices or ["no line of it is about a user and an item that are known"]
        raise UserError(f"{source.path}: {why[0]}")
    return {
        log.user_ids[user]: known.numbers[log.item[together]].astype(np.int32)
        for user, together in _by_user(log, order)
    }, notices


def _read(
    source: LogSource, items: ItemIndex
) -> tuple[Interactions, np.ndarray, LogItems, list[str]]:
    """(the log, an item of two IDs under the first of them; positions of its interactions with
    known items, user by user in time order; what each of its IDs means; lines for a person)."""
    path = os.fspath(source.path)
    format, options = source.format or format_of(path), ReadOptions(events=source.events)
    if format is None:
        raise UserError(f"{path}: say its --format: {', '.join(FORMATS)}")
    log, report = read_interactions(find_log(format, path, None, source.columns, options))
    known = items.of_log(log.item_ids)
    _, first, same = np.unique(known.numbers, return_index=True, return_inverse=True)
    log = dataclasses.replace(log, item=first[same][log.item].astype(np.int32))
    order = time_order(log)
    order = order[known.numbers[log.item[order]] != NO_ITEM]
    return log, order, known, report.lines(samples=True)


def _by_user(log: Interactions, order: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(user, positions of the log), for positions that are sorted by user."""
    users, starts = np.unique(log.user[order], return_index=True)
    yield from zip(users.tolist(), np.split(order, starts[1:]), strict=True)
