"""From users' logs to the shards of the prepared dataset: the last pipeline."""

import bisect
import dataclasses
import itertools
import json
import operator
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
from etils import epath

from recalign.data.beam.filtering import UserLog, bucket_of
from recalign.data.records import number_of_shards, shard_file, write_shard
from recalign.data.splits import UserRow, split_rows


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the records lie."""

    name: str  # of the dataset
    directory: str  # the dataset's, where the shards go
    work: str  # a directory for files that are not there yet
    index_file: str  # the items' raw ids in index order and when each was last trained on, JSON
    first_row: dict[int, int]  # bucket -> the number of its first user
    users: int
    seed: int  # decides the validation sample
    has_ratings: bool
    has_reviews: bool

    @property
    def validation(self) -> list[int]:
        """The rows of the validation sample."""
        return split_rows("validation", self.users, self.seed).tolist()


def shard_ends(records: int) -> list[int]:
    """The place behind each shard of a split of so many records."""
    parts = np.array_split(np.arange(records), number_of_shards(records))
    return list(itertools.accumulate(len(part) for part in parts))


def write(users: beam.PCollection, plan: Plan) -> tuple[beam.PCollection, beam.PCollection]:
    """Writes all shards; gives their `Shard`s as JSON, and of how many users others' training parts
    hold the test item after the test moment."""
    numbered = (
        users
        | "to buckets" >> beam.Map(lambda user: (bucket_of(user), user))
        | "by bucket" >> beam.GroupByKey()
        | "number" >> beam.ParDo(_Number(plan)).with_outputs("validation", "later", main="all")
    )
    whole = numbered.all | "by shard" >> beam.GroupByKey()
    sample = numbered.validation | "by its shards" >> beam.GroupByKey()
    written = [
        shards | f"write {split}" >> beam.ParDo(_Write(plan, split, number_of_shards(records)))
        for split, shards, records in (
            ("train", whole, plan.users),
            ("test", whole, plan.users),
            ("validation", sample, len(plan.validation)),
        )
    ]
    later = numbered.later | "all later" >> beam.CombineGlobally(sum)
    return written | "shards" >> beam.Flatten(), later


class _Number(beam.DoFn):
    """The users that first appear in one part of the log -> (shard, (row, their record))."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def setup(self) -> None:
        items = json.loads(epath.Path(self._plan.index_file).read_text())
        self._index = {raw_id: index for index, (raw_id, _) in enumerate(items)}
        self._latest = dict(items)
        self._ends = shard_ends(self._plan.users)
        sample = self._plan.validation
        self._place_in_sample = {row: place for place, row in enumerate(sample)}
        self._sample_ends = shard_ends(len(sample))

    def process(self, bucket: tuple[int, Iterable[UserLog]]) -> Iterator[Any]:
        number, users = bucket
        in_order = sorted((UserLog._make(user) for user in users), key=operator.itemgetter(0))
        for row, user in enumerate(in_order, self._plan.first_row[number]):
            record = (
                user.user,
                [self._index[item] for item in user.items],
                list(user.ratings) if self._plan.has_ratings else None,
                list(user.review_texts) if self._plan.has_reviews else None,
                list(user.summaries) if self._plan.has_reviews else None,
            )
            yield bisect.bisect_right(self._ends, row), (row, record)
            later = int(self._latest[user.items[-1]] > user.times[-1])
            yield beam.pvalue.TaggedOutput("later", later)
            if row in self._place_in_sample:
                shard = bisect.bisect_right(self._sample_ends, self._place_in_sample[row])
                yield beam.pvalue.TaggedOutput("validation", (shard, (row, record)))


class _Write(beam.DoFn):
    """A shard's records -> its file, whole or not at all, however often a worker tries."""

    def __init__(self, plan: Plan, split: str, shards: int) -> None:
        self._plan = plan
        self._split = split
        self._shards = shards

    def process(self, shard: tuple[int, Iterable[tuple[int, tuple]]]) -> Iterator[str]:
        number, records = shard
        in_order = sorted(records, key=operator.itemgetter(0))
        rows = ((row, UserRow(*record)) for row, record in in_order)
        partial = epath.Path(self._plan.work) / f"shard-{uuid.uuid4().hex}"
        written = write_shard(partial, self._split, number, rows)
        directory = epath.Path(self._plan.directory)
        partial.replace(shard_file(directory, self._plan.name, self._split, number, self._shards))
        yield json.dumps(dataclasses.asdict(written))
