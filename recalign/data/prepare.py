"""From a log in memory to a prepared dataset on disk."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from recalign.data import order
from recalign.data.atomic import atomic_directory
from recalign.data.findings import Findings, Ties, comes_first, rating_summary
from recalign.data.finish import finish
from recalign.data.ids import item_order
from recalign.data.interactions import Interactions, ItemTable
from recalign.data.preparation import Preparation
from recalign.data.prepared import PreparedDataset, dataset_path, open_dataset
from recalign.data.readers.tally import WARNING
from recalign.data.records import write_records
from recalign.data.splits import MINIMUM_LENGTH, Sequences, train_counts
from recalign.data.temporal import (
    TEMPORAL,
    find_cuts,
    shown_by_time,
    split_notes,
    trained_later,
    with_training,
)
from recalign.errors import UserError

_MANY_REPEATS = 0.1
"""The share of a log from which dropping repeats is worth a warning."""


def prepare(
    log: Interactions,
    items: ItemTable,
    *,
    sources: Sequence[object] = (),
    noticed: Sequence[str] = (),
    extra_files: Mapping[str, bytes] | None = None,
    **settings: Any,
) -> PreparedDataset:
    """Orders, filters, splits, numbers and writes; replaces a dataset of that name.

    Time order with ties in file order; of a user's repeats of an item the first stays, or all that
    are not of one moment; iterated k-core; users with fewer than 3 items leave; the last item is
    the test target, the last but one the validation target. `info["notes"]` says in lines what was
    dropped, shortened or guessed. After an error what was there before is untouched.

    Args:
        log: the interactions.
        items: what is known of the items; titles may be missing.
        sources: where the log came from, for `dataset.json`; anything that JSON holds.
        noticed: what was noticed when the log was read, a line each.
        extra_files: file name -> content, laid beside the data.
        settings: fields of `Preparation`.
    """
    asked = Preparation(**settings)
    if asked.split == TEMPORAL and log.timestamp is None:
        raise UserError("--split temporal needs times: name their column with --time_column")
    vocabulary = asked.read_vocabulary()
    notes = list(noticed)
    kept = _kept(log, asked.k_core, asked.keep_repeats, notes)
    moments = None
    if asked.split == TEMPORAL:
        assert log.timestamp is not None
        moments = find_cuts(log.timestamp[kept], asked.cuts)
        kept = with_training(log, kept, moments[0], notes)
    sequences, raw_ids = _sequences(log, kept, asked.item_ids, asked.seed)
    time = None if log.timestamp is None else log.timestamp[kept]
    if moments is not None and time is not None:
        shown = shown_by_time(time, sequences.row_splits, moments)
        sequences = dataclasses.replace(sequences, by_time=shown)
    counts = train_counts(sequences, len(raw_ids))
    if moments is not None:
        notes += split_notes(sequences, counts, moments)
    ratings = rating_summary(sequences.ratings, asked.like_threshold)
    if ratings is not None and not ratings.is_usable:
        sequences = dataclasses.replace(sequences, ratings=None)
    findings = Findings(
        has_reviews=sequences.review_texts is not None,
        pairs=sequences.number_of_pairs(len(raw_ids)),
        users_of_length=np.bincount(sequences.lengths),
        ties=None if time is None else _ties(time, sequences, raw_ids),
        ratings=ratings,
        cuts=moments,
        trained_later=None if time is None else trained_later(sequences, time, len(raw_ids)),
        notes=notes,
    )
    with atomic_directory(dataset_path(asked.name, asked.data_dir)) as directory:
        shards = write_records(sequences, directory, asked.name, asked.seed)
        finish(
            directory,
            shards,
            raw_ids,
            counts,
            items,
            findings,
            asked,
            log_ids=log.item_ids,
            sources=sources,
            vocabulary=vocabulary,
            extra_files=extra_files or {},
        )
    return open_dataset(asked.name, asked.data_dir)


def _kept(log: Interactions, least: int, keep_repeats: bool, notes: list[str]) -> np.ndarray:
    """Positions of the log that stay, user by user in time order; adds to the notes."""
    ordered = order.time_order(log)
    distinct = order.first_interactions(log, ordered)
    if keep_repeats:
        ordered = order.without_simultaneous(log, ordered)
    if len(distinct) < len(ordered):
        notes.append(repeats_note(len(ordered) - len(distinct), len(ordered), keep_repeats))
    kept = _filter(log, distinct, least, notes)
    if not len(kept):
        raise nothing_left(len(log), least)
    return order.with_repeats(log, ordered, kept) if keep_repeats else kept


def repeats_note(repeats: int, interactions: int, kept: bool) -> str:
    """What a person is told of repeats."""
    share = f"{100 * repeats / interactions:.1f} % of the log"
    if kept:
        return f"{repeats:,} repeats of an item by the same user kept ({share})"
    warning = WARNING if repeats >= _MANY_REPEATS * interactions else ""
    return (
        f"{warning}{repeats:,} repeats of an item by the same user dropped ({share}): the first"
        " interaction stays; --keep_repeats keeps them"
    )


def core_note(dropped: int, least: int) -> str:
    """What a person is told of the k-core."""
    return f"{dropped:,} interactions dropped by the {least}-core"


def short_note(users: int, interactions: int) -> str:
    """What a person is told of sequences that are too short."""
    return (
        f"{users:,} users with fewer than {MINIMUM_LENGTH} items dropped"
        f" ({interactions:,} interactions)"
    )


def nothing_left(interactions: int, least: int) -> UserError:
    """What ends the preparation of a log that is too thin."""
    return UserError(
        f"nothing is left of {interactions:,} interactions after the {least}-core and the minimum"
        f" of {MINIMUM_LENGTH} items a user: give a larger log or a smaller --k_core"
    )


def _sequences(
    log: Interactions, kept: np.ndarray, item_ids: str, seed: int
) -> tuple[Sequences, list[str]]:
    """The sequences in catalogue indices, and the raw ids in index order."""
    users, row = np.unique(log.user[kept], return_inverse=True)
    items, code = np.unique(log.item[kept], return_inverse=True)
    raw_ids = [log.item_ids[item] for item in items.tolist()]
    in_index_order = item_order(item_ids, raw_ids, code, seed)
    index_of_code = np.empty(len(raw_ids), np.int32)
    index_of_code[in_index_order] = np.arange(len(raw_ids), dtype=np.int32)
    sequences = Sequences(
        users=[log.user_ids[user] for user in users.tolist()],
        items=index_of_code[code],
        ratings=None if log.rating is None else log.rating[kept].astype(np.float32),
        row_splits=np.concatenate([[0], np.cumsum(np.bincount(row))]).astype(np.int64),
        review_texts=_taken(log.review_text, kept),
        summaries=_taken(log.summary, kept),
    )
    return sequences, [raw_ids[code] for code in in_index_order.tolist()]


def _taken(column: pa.ChunkedArray | None, kept: np.ndarray) -> pa.LargeStringArray | None:
    if column is None:
        return None
    taken = column.take(pa.array(kept)).combine_chunks()
    # Older releases of Arrow combine into a chunked array of one.
    return taken if isinstance(taken, pa.Array) else taken.chunk(0)


def _ties(time: np.ndarray, sequences: Sequences, raw_ids: list[str]) -> Ties:
    """How many users' last two items share a timestamp."""
    ends = sequences.row_splits[1:]
    ends = ends[time[ends - 1] == time[ends - 2]]
    pairs = zip(sequences.items[ends - 2].tolist(), sequences.items[ends - 1].tolist(), strict=True)
    return Ties(len(ends), sum(comes_first(raw_ids[one], raw_ids[two]) for one, two in pairs))


def _filter(log: Interactions, ordered: np.ndarray, least: int, notes: list[str]) -> np.ndarray:
    """What the k-core and the minimum length of a sequence leave."""

    def left(positions: np.ndarray, of_user: int) -> np.ndarray:
        user, item = log.user[positions], log.item[positions]
        return positions[order.k_core(user, item, user_minimum=of_user, item_minimum=least)]

    cored = left(ordered, least)
    if len(cored) < len(ordered):
        notes.append(core_note(len(ordered) - len(cored), least))
    # Once more, because dropping short sequences may leave an item with fewer than k.
    kept = left(cored, max(least, MINIMUM_LENGTH))
    if len(kept) < len(cored):
        users = len(np.unique(log.user[cored])) - len(np.unique(log.user[kept]))
        notes.append(short_note(users, len(cored) - len(kept)))
    return kept
