"""The sequences of a prepared dataset as TFDS files: written once, read whole and columnar.

The files are what TFDS itself writes (sharded TFRecords of tf.train.Example, `dataset_info.json`,
`features.json`), so that `tfds.load("<name>:1.0.0", data_dir=…)` and T5X read them without this
package. TFDS holds the metadata; the examples are serialized here because
`tfds.core.SequentialWriter` takes 0.4 ms for each, fifty times as long.
"""

import dataclasses
import os
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
import tqdm
from etils import epath
from jaxtyping import Float32, Int32, Int64

from recalign.data.splits import HELD_OUT, SPLITS, Sequences, split_rows
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
    """A whole split in memory, columnar; position r in every column is the split's r-th record.

    Attributes:
        users: R raw ids of users.
        rows: int64 [R], the users' numbers in the dataset, ascending.
        items: int32 [total], catalogue indices; record r is items[row_splits[r]:row_splits[r + 1]].
        row_splits: int64 [R + 1].
        ratings: float32 [total], aligned with `items`; None where the log has none.
        unseen: int32 [total unseen], the rest of each user's sequence.
        unseen_splits: int64 [R + 1].
    """

    users: list[str]
    rows: Int64[np.ndarray, " rows"]
    items: Int32[np.ndarray, " total"]
    row_splits: Int64[np.ndarray, " rows_and_one"]
    ratings: Float32[np.ndarray, " total"] | None
    unseen: Int32[np.ndarray, " unseen"]
    unseen_splits: Int64[np.ndarray, " rows_and_one"]

    def __len__(self) -> int:
        """The number of records."""
        return len(self.rows)


def write_records(sequences: Sequences, directory: epath.Path, name: str, seed: int) -> None:
    """Writes the three splits and TFDS's metadata into an existing, empty directory.

    Raises:
        OSError: the disk is full or the directory cannot be written.
    """
    info = tfds.core.DatasetInfo(
        builder=tfds.core.dataset_info.DatasetIdentity(
            name=name,
            version=tfds.core.Version(VERSION),
            data_dir=os.fspath(directory),
            module_name="recalign.data",
        ),
        description=_DESCRIPTION,
        features=_features(sequences.ratings is not None),
        disable_shuffling=True,
    )
    info.set_file_format(tfds.core.FileFormat.TFRECORD)
    try:
        splits = [_write_split(sequences, directory, name, split, seed) for split in SPLITS]
    except tf.errors.OpError as error:
        raise OSError(error.message) from error
    info.set_splits(tfds.core.SplitDict(splits))
    info.write_to_directory(directory)


def _features(has_ratings: bool) -> tfds.features.FeaturesDict:
    features = {
        "user": tfds.features.Text(),
        "row": np.int64,
        "split": np.int64,
        "items": tfds.features.Sequence(np.int32),
        "unseen": tfds.features.Sequence(np.int32),
    }
    if has_ratings:
        features["ratings"] = tfds.features.Sequence(np.float32)
    return tfds.features.FeaturesDict(features)


def _write_split(
    sequences: Sequences, directory: epath.Path, name: str, split: str, seed: int
) -> tfds.core.SplitInfo:
    rows = split_rows(split, len(sequences.users), seed)
    template = tfds.core.ShardedFileTemplate(
        dataset_name=name, data_dir=directory, split=split, filetype_suffix="tfrecord"
    )
    shards = np.array_split(rows, -(-len(rows) // USERS_PER_SHARD))
    num_bytes = 0
    with tqdm.tqdm(total=len(rows), desc=f"{name} {split}", unit=" users", disable=None) as bar:
        for index, shard in enumerate(shards):
            path = template.sharded_filepath(shard_index=index, num_shards=len(shards))
            with tf.io.TFRecordWriter(os.fspath(path)) as writer:
                for record in _serialized(sequences, shard, split):
                    writer.write(record)
                    num_bytes += len(record)
            bar.update(len(shard))
    return tfds.core.SplitInfo(
        name=split,
        shard_lengths=[len(shard) for shard in shards],
        num_bytes=num_bytes,
        filename_template=template,
    )


def _serialized(
    sequences: Sequences, rows: Int64[np.ndarray, " rows"], split: str
) -> Iterator[bytes]:
    for row in rows.tolist():
        start, end = sequences.row_splits[row : row + 2].tolist()
        shown = end - HELD_OUT[split]
        example = tf.train.Example()
        feature = example.features.feature
        feature["user"].bytes_list.value.append(sequences.users[row].encode())
        feature["row"].int64_list.value.append(row)
        feature["split"].int64_list.value.append(SPLITS.index(split))
        feature["items"].int64_list.value.extend(sequences.items[start:shown].tolist())
        feature["unseen"].int64_list.value.extend(sequences.items[shown:end].tolist())
        if sequences.ratings is not None:
            feature["ratings"].float_list.value.extend(sequences.ratings[start:shown].tolist())
        yield example.SerializeToString(deterministic=True)


def read_records(directory: epath.Path, split: str, has_ratings: bool) -> UserSequences:
    """Reads a whole split.

    Raises:
        UserError: files that are absent or damaged.
        KeyError: an unknown split.
    """
    if split not in SPLITS:
        raise KeyError(split)
    features = {
        "user": tf.io.FixedLenFeature([], tf.string),
        "row": tf.io.FixedLenFeature([], tf.int64),
        "items": tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64),
        "unseen": tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64),
    }
    if has_ratings:
        features["ratings"] = tf.io.RaggedFeature(tf.float32, row_splits_dtype=tf.int64)
    try:
        files = tfds.builder_from_directory(directory).info.splits[split].filepaths
        records = tf.data.TFRecordDataset([os.fspath(path) for path in files]).batch(8192)
        batches = list(records.map(lambda batch: tf.io.parse_example(batch, features)))
    except (tf.errors.OpError, OSError, ValueError, tfds.core.DatasetNotFoundError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{directory}: damaged ({reason}): prepare the dataset again") from error

    def flat(feature: str, dtype: type) -> np.ndarray:
        parts = [batch[feature].values.numpy() for batch in batches]
        return np.concatenate(parts).astype(dtype)

    def row_splits(feature: str) -> Int64[np.ndarray, " rows_and_one"]:
        lengths = [batch[feature].row_lengths().numpy() for batch in batches]
        return np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)

    return UserSequences(
        users=[user.decode() for batch in batches for user in batch["user"].numpy()],
        rows=np.concatenate([batch["row"].numpy() for batch in batches]),
        items=flat("items", np.int32),
        row_splits=row_splits("items"),
        ratings=flat("ratings", np.float32) if has_ratings else None,
        unseen=flat("unseen", np.int32),
        unseen_splits=row_splits("unseen"),
    )
