"""From a log in memory to a prepared dataset on disk."""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence

import numpy as np
from etils import epath

from recalign.data import core
from recalign.data.atomic import atomic_directory
from recalign.data.catalogue import Catalogue, build_catalogue, write_catalogue
from recalign.data.ids import SEQUENTIAL_WARNING, check_method, item_order
from recalign.data.interactions import Interactions, ItemTable
from recalign.data.order import first_interactions, time_order
from recalign.data.prepared import (
    INFO_FILE,
    SENTENCEPIECE_FILE,
    PreparedDataset,
    dataset_path,
    open_dataset,
)
from recalign.data.records import VERSION, write_records
from recalign.data.splits import MINIMUM_LENGTH, Sequences, train_counts
from recalign.errors import UserError


def prepare(
    log: Interactions,
    items: ItemTable,
    *,
    name: str,
    data_dir: str | os.PathLike,
    item_ids: str = "random",
    seed: int = 0,
    k_core: int = 5,
    sentencepiece_model: str | os.PathLike | None = None,
    sources: Sequence[object] = (),
    extra_files: Mapping[str, bytes] | None = None,
) -> PreparedDataset:
    """Orders, filters, splits, numbers and writes; replaces a dataset of that name.

    Time order with ties in file order; of a user's repeats of an item the first stays; iterated
    k-core; users with fewer than 3 items leave; the last item is the test target, the last but one
    the validation target.

    Args:
        log: the interactions.
        items: what is known of the items; titles may be missing.
        name: lower-case letters, digits and underscores, starting with a letter.
        data_dir: where prepared datasets live; local or gs://.
        item_ids: "random" or "sequential".
        seed: decides the ids and the validation sample.
        k_core: the least number of interactions of a user and of an item; 0 or 1 keeps all.
        sentencepiece_model: a vocabulary to lay beside the data.
        sources: where the log came from, for `dataset.json`; anything that JSON holds.
        extra_files: file name -> content, laid beside the data.

    Returns:
        The dataset; `info["notes"]` says in lines what was dropped, shortened or guessed.

    Raises:
        UserError: an impossible name or setting, nothing left after the k-core, or a directory
            that cannot be written; what was there before is then untouched.
    """
    check_settings(name, seed, k_core, item_ids)
    vocabulary = _read_vocabulary(sentencepiece_model)
    notes: list[str] = []
    kept = _kept(log, k_core, notes)
    sequences, raw_ids = _sequences(log, kept, item_ids, seed)
    if item_ids == "sequential":
        notes.append(SEQUENTIAL_WARNING)
    catalogue, catalogue_notes = build_catalogue(
        raw_ids, items, train_counts(sequences, len(raw_ids))
    )
    info = {
        "name": name,
        "version": VERSION,
        "seed": seed,
        "k_core": k_core,
        "item_ids": item_ids,
        "has_ratings": sequences.ratings is not None,
        "users": len(sequences.users),
        "items": len(catalogue),
        "interactions": len(sequences.items),
        "sparsity_percent": 100
        * (1 - len(sequences.items) / (len(sequences.users) * len(catalogue))),
        "sequence_length_mean": float(sequences.lengths.mean()),
        "sequence_length_std": float(sequences.lengths.std()),
        "tied_last_fraction": _tied_last_fraction(log, kept, sequences),
        "sources": list(sources),
        "notes": notes + catalogue_notes,
        "fingerprint": _fingerprint(sequences, catalogue, vocabulary, extra_files or {}),
    }
    with atomic_directory(dataset_path(name, data_dir)) as directory:
        write_records(sequences, directory, name, seed)
        write_catalogue(catalogue, directory)
        if vocabulary is not None:
            (directory / SENTENCEPIECE_FILE).write_bytes(vocabulary)
        for file_name, content in (extra_files or {}).items():
            (directory / file_name).write_bytes(content)
        (directory / INFO_FILE).write_text(json.dumps(info, indent=2) + "\n")
    return open_dataset(name, data_dir)


def check_settings(name: str, seed: int, least: int, item_ids: str) -> None:
    """Refuses what cannot be prepared, before a log is read.

    Raises:
        UserError: an impossible name, seed, k-core or way of numbering the items.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UserError(
            f"dataset name {name!r}: lower-case letters, digits and underscores only,"
            " starting with a letter"
        )
    if seed < 0:
        raise UserError(f"--seed {seed}: 0 or more")
    if least < 0:
        raise UserError(f"--k_core {least}: 0 or more")
    check_method(item_ids)


def _read_vocabulary(path: str | os.PathLike | None) -> bytes | None:
    if path is None:
        return None
    try:
        return epath.Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{os.fspath(path)}: {error.strerror or error}") from error


def _kept(log: Interactions, least: int, notes: list[str]) -> np.ndarray:
    """Positions of the log that stay, user by user in time order; adds to the notes."""
    order = time_order(log)
    distinct = first_interactions(log, order)
    if len(distinct) < len(order):
        notes.append(
            f"{len(order) - len(distinct):,} repeats of an item by the same user dropped:"
            " the first interaction stays"
        )
    kept = _filter(log, distinct, least, notes)
    if not len(kept):
        raise UserError(
            f"nothing is left of {len(log):,} interactions after the {least}-core and the minimum"
            f" of {MINIMUM_LENGTH} items a user: give a larger log or a smaller --k_core"
        )
    return kept


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
    )
    return sequences, [raw_ids[code] for code in in_index_order.tolist()]


def _tied_last_fraction(log: Interactions, kept: np.ndarray, sequences: Sequences) -> float | None:
    """The fraction of users whose last two items share a timestamp; None without timestamps."""
    if log.timestamp is None:
        return None
    time = log.timestamp[kept]
    ends = sequences.row_splits[1:]
    return float((time[ends - 1] == time[ends - 2]).mean())


def _filter(log: Interactions, order: np.ndarray, least: int, notes: list[str]) -> np.ndarray:
    """What the k-core and the minimum length of a sequence leave of `order`."""
    cored = order[
        core.k_core(log.user[order], log.item[order], user_minimum=least, item_minimum=least)
    ]
    if len(cored) < len(order):
        notes.append(f"{len(order) - len(cored):,} interactions dropped by the {least}-core")
    # Once more, because dropping short sequences may leave an item with fewer than k.
    kept = cored[
        core.k_core(
            log.user[cored],
            log.item[cored],
            user_minimum=max(least, MINIMUM_LENGTH),
            item_minimum=least,
        )
    ]
    if len(kept) < len(cored):
        users = len(np.unique(log.user[cored])) - len(np.unique(log.user[kept]))
        notes.append(
            f"{users:,} users with fewer than {MINIMUM_LENGTH} items dropped"
            f" ({len(cored) - len(kept):,} interactions)"
        )
    return kept


def _fingerprint(
    sequences: Sequences,
    catalogue: Catalogue,
    vocabulary: bytes | None,
    extra_files: Mapping[str, bytes],
) -> str:
    """A digest of all that the dataset holds, so that two of one name can be told apart."""
    digest = hashlib.sha256()
    for column in (sequences.items, sequences.row_splits, sequences.ratings):
        digest.update(b"" if column is None else np.ascontiguousarray(column).tobytes())
    digest.update("\n".join(sequences.users).encode())
    for batch in catalogue.table.to_batches(max_chunksize=10_000):
        digest.update(json.dumps(batch.to_pylist()).encode())
    digest.update(vocabulary or b"")
    for file_name in sorted(extra_files):
        digest.update(file_name.encode() + extra_files[file_name])
    return digest.hexdigest()[:16]
