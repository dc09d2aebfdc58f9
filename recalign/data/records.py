"""The sequences of a prepared dataset as TFDS files: written once, read whole and columnar.

The files are what TFDS itself writes (sharded TFRecords of tf.train.Example, `dataset_info.json`,
`features.json`), so that `tfds.load("<name>:1.0.0", data_dir=…)` and T5X read them without this
package. TFDS holds the metadata; the examples are serialized here because
`tfds.core.SequentialWriter` takes 0.4 ms for each, fifty times as long.
"""

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
import tensorflow_datasets as tfds
import tqdm
from etils import epath
from jaxtyping import Float32, Int32, Int64

from recalign.data.splits import SPLITS, Sequences, UserRow, split_rows
from recalign.errors import UserError

VERSION = "1.0.0"

USERS_PER_SHARD = 50_000

_DESCRIPTION = (
    "Interactions of users with items in time order, leave-one-out split, prepared by recalign. "
    "`items` are rows of items.parquet beside this file; the last of them is the target in "
    "validation and test; `unseen` is the rest of the user's sequence."
)


@dataclasses.dataclass(frozen=True)
class UserSequences:
    """A whole split in memory, columnar; position r in every column is the split's r-th record."""

    users: list[str]  # raw ids
    rows: Int64[np.ndarray, " rows"]  # the users' numbers in the dataset, ascending
    items: Int32[np.ndarray, " total"]  # record r is items[row_splits[r]:row_splits[r + 1]]
    row_splits: Int64[np.ndarray, " rows_and_one"]
    ratings: Float32[np.ndarray, " total"] | None  # None where the log has none
    unseen: Int32[np.ndarray, " unseen"]  # the rest of each user's sequence
    unseen_splits: Int64[np.ndarray, " rows_and_one"]

    def __len__(self) -> int:
        return len(self.rows)


@dataclasses.dataclass(frozen=True)
class UserReviews:
    """The review texts of a whole split, aligned with the `items` of its `UserSequences`."""

    texts: pa.LargeStringArray  # "" where a user wrote none
    summaries: pa.LargeStringArray  # the reviews' own titles


@dataclasses.dataclass(frozen=True)
class Shard:
    """One file that was written.

    Its digest is the sum of the records' SHA-256 digests modulo 2^256. A record holds its row, so
    the sum tells sequences apart in whatever order their shards were written.
    """

    split: str
    number: int  # its place among the split's shards
    records: int
    num_bytes: int  # of all its records
    digest: int


def write_records(sequences: Sequences, directory: epath.Path, name: str, seed: int) -> list[Shard]:
    """Writes the three splits into an existing directory; an OSError where the disk is full."""
    written = []
    for split in SPLITS:
        rows = split_rows(split, len(sequences.users), seed, sequences.shown(split))
        shards = np.array_split(rows, number_of_shards(len(rows)))
        with tqdm.tqdm(total=len(rows), desc=f"{name} {split}", unit=" users", disable=None) as bar:
            for number, shard in enumerate(shards):
                path = shard_file(directory, name, split, number, len(shards))
                numbered = ((row, sequences.row(row)) for row in shard.tolist())
                written.append(write_shard(path, split, number, numbered))
                bar.update(len(shard))
    return written


def number_of_shards(records: int) -> int:
    """How many files a split of so many records takes, all of them about as long."""
    return -(-records // USERS_PER_SHARD)


def shard_file(
    directory: epath.Path, name: str, split: str, number: int, shards: int
) -> epath.Path:
    """Where a shard lies."""
    return _template(directory, name, split).sharded_filepath(shard_index=number, num_shards=shards)


def write_shard(
    path: epath.Path, split: str, number: int, rows: Iterable[tuple[int, UserRow]]
) -> Shard:
    """Writes (row number, row) pairs as one file; raises as `write_records` does."""
    records = num_bytes = digest = 0
    try:
        with tf.io.TFRecordWriter(os.fspath(path)) as writer:
            for row_number, row in rows:
                record = _serialized(row_number, row, split)
                writer.write(record)
                records += 1
                num_bytes += len(record)
                digest += int.from_bytes(hashlib.sha256(record).digest())
    except tf.errors.OpError as error:
        raise OSError(error.message) from error
    return Shard(split, number, records, num_bytes, digest % 2**256)


def write_metadata(
    shards: Sequence[Shard], directory: epath.Path, name: str, has_ratings: bool, has_reviews: bool
) -> None:
    """Writes what TFDS needs to know of the shards, all of which are there."""
    info = tfds.core.DatasetInfo(
        builder=tfds.core.dataset_info.DatasetIdentity(
            name=name,
            version=tfds.core.Version(VERSION),
            data_dir=os.fspath(directory),
            module_name="recalign.data",
        ),
        description=_DESCRIPTION,
        features=_features(has_ratings, has_reviews),
        disable_shuffling=True,
    )
    info.set_file_format(tfds.core.FileFormat.TFRECORD)
    splits = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[shard.records for shard in own],
            num_bytes=sum(shard.num_bytes for shard in own),
            filename_template=_template(directory, name, split),
        )
        for split, own in _by_split(shards).items()
    ]
    info.set_splits(tfds.core.SplitDict(splits))
    info.write_to_directory(directory)


def _features(has_ratings: bool, has_reviews: bool) -> tfds.features.FeaturesDict:
    features = {
        "user": tfds.features.Text(),
        "row": np.int64,
        "split": np.int64,
        "items": tfds.features.Sequence(np.int32),
        "unseen": tfds.features.Sequence(np.int32),
    }
    if has_ratings:
        features["ratings"] = tfds.features.Sequence(np.float32)
    if has_reviews:
        features["review_texts"] = tfds.features.Sequence(tfds.features.Text())
        features["summaries"] = tfds.features.Sequence(tfds.features.Text())
    return tfds.features.FeaturesDict(features)


def _template(directory: epath.Path, name: str, split: str) -> tfds.core.ShardedFileTemplate:
    return tfds.core.ShardedFileTemplate(
        dataset_name=name, data_dir=directory, split=split, filetype_suffix="tfrecord"
    )


def _serialized(number: int, row: UserRow, split: str) -> bytes:
    shown = row.shown_in(split)
    example = tf.train.Example()
    feature = example.features.feature
    feature["user"].bytes_list.value.append(row.user.encode())
    feature["row"].int64_list.value.append(number)
    feature["split"].int64_list.value.append(SPLITS.index(split))
    feature["items"].int64_list.value.extend(row.items[:shown])
    feature["unseen"].int64_list.value.extend(row.items[shown:])
    if row.ratings is not None:
        feature["ratings"].float_list.value.extend(row.ratings[:shown])
    for name, texts in (("review_texts", row.review_texts), ("summaries", row.summaries)):
        if texts is not None:
            feature[name].bytes_list.value.extend(text.encode() for text in texts[:shown])
    return example.SerializeToString(deterministic=True)


def read_records(directory: epath.Path, info: Mapping[str, Any], split: str) -> UserSequences:
    """Reads a whole split.

    Args:
        directory: the dataset's.
        info: what `dataset.json` holds, the digests of the files among it.
        split: one of `SPLITS`; a KeyError for any other.
    """
    has_ratings = info["has_ratings"]
    columns = {"items": tf.int64, "unseen": tf.int64}
    columns |= {"ratings": tf.float32} if has_ratings else {}
    features = {
        "user": tf.io.FixedLenFeature([], tf.string),
        "row": tf.io.FixedLenFeature([], tf.int64),
        **{
            name: tf.io.RaggedFeature(dtype, row_splits_dtype=tf.int64)
            for name, dtype in columns.items()
        },
    }
    batches = list(_parsed(directory, info, split, features))
    if not batches:
        raise damaged(directory, f"{split}: not one record")
    try:
        users = [user.decode() for batch in batches for user in batch["user"].numpy()]
    except UnicodeDecodeError as error:
        raise damaged(directory, f"{split}: a user's ID is no UTF-8") from error

    def flat(feature: str, dtype: type) -> np.ndarray:
        parts = [batch[feature].values.numpy() for batch in batches]
        return np.concatenate(parts).astype(dtype)

    def row_splits(feature: str) -> Int64[np.ndarray, " rows_and_one"]:
        lengths = [batch[feature].row_lengths().numpy() for batch in batches]
        return np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)

    sequences = UserSequences(
        users=users,
        rows=np.concatenate([batch["row"].numpy() for batch in batches]),
        items=flat("items", np.int32),
        row_splits=row_splits("items"),
        ratings=flat("ratings", np.float32) if has_ratings else None,
        unseen=flat("unseen", np.int32),
        unseen_splits=row_splits("unseen"),
    )
    if fault := _fault(sequences, info["items"]):
        raise damaged(directory, f"{split}: {fault}")
    return sequences


def _fault(read: UserSequences, items: int) -> str | None:
    """What no file of recalign's has, whoever wrote it."""
    lengths = np.diff(read.row_splits)
    if read.rows.min() < 0 or (np.diff(read.rows) <= 0).any():
        return "rows are not ascending"
    if lengths.min() < 1:
        return "a sequence is empty"
    indices = np.concatenate([read.items, read.unseen])
    if indices.min() < 0 or indices.max() >= items:
        return f"an item beyond the catalogue's {items:,}"
    if read.ratings is not None and len(read.ratings) != len(read.items):
        return "ratings do not match the items"
    return None


def damaged(directory: epath.Path, reason: str) -> UserError:
    """What is said of a dataset whose files are not as they were written."""
    return UserError(f"{directory}: damaged ({reason}): prepare the dataset again")


def read_reviews(directory: epath.Path, info: Mapping[str, Any], split: str) -> UserReviews:
    """Reads the review texts of a whole split, as `read_records` does."""
    names = ("review_texts", "summaries")
    features = {name: tf.io.RaggedFeature(tf.string) for name in names}
    batches = [
        [pa.array(batch[name].values.numpy(), pa.large_binary()) for name in names]
        for batch in _parsed(directory, info, split, features)
    ]
    columns = zip(*batches, strict=True)
    return UserReviews(*(pa.concat_arrays(column).cast(pa.large_string()) for column in columns))


def shard_digests(shards: Sequence[Shard]) -> dict[str, list[tuple[int, str]]]:
    """Of each split (records, digest) a file, in the files' order."""
    return {
        split: [(shard.records, f"{shard.digest:064x}") for shard in own]
        for split, own in _by_split(shards).items()
    }


def _by_split(shards: Sequence[Shard]) -> dict[str, list[Shard]]:
    in_order = sorted(shards, key=lambda shard: shard.number)
    return {split: [shard for shard in in_order if shard.split == split] for split in SPLITS}


def _parsed(
    directory: epath.Path, info: Mapping[str, Any], split: str, features: Mapping[str, object]
) -> Iterator[dict[str, Any]]:
    """The records of a split, many at a time; at the end of each file its digest is compared."""
    if split not in SPLITS:
        raise KeyError(split)
    shards = info["shards"][split]
    for number, (records, digest) in enumerate(shards):
        path = shard_file(directory, info["name"], split, number, len(shards))
        found = count = 0
        try:
            for batch in tf.data.TFRecordDataset([os.fspath(path)]).batch(8192):
                for record in batch.numpy():
                    found += int.from_bytes(hashlib.sha256(record).digest())
                count += len(batch)
                yield tf.io.parse_example(batch, features)
        except (tf.errors.OpError, OSError, ValueError) as error:
            raise damaged(directory, str(error).splitlines()[0]) from error
        if (count, f"{found % 2**256:064x}") != (records, digest):
            raise damaged(directory, f"{path.name} is not what was written")
