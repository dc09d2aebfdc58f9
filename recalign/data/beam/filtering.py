"""A user's log, the record that goes from pipeline to pipeline; the iterated k-core over them, and
the survey of what is left."""

import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence, Set
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np

from recalign.data.findings import add_counts, comes_first, count_ratings
from recalign.data.splits import HELD_OUT

# Lines may hold several interactions (--format sequences), 2^25 of them at most: a line is no
# longer than 64 MiB. Then 2^38 lines fit into a signed 64-bit position.
PLACE_BITS = 25

ROUNDS = 5
"""Rounds of the k-core in one pipeline: a pipeline has no loops, and a job has its cost."""

BUCKET_LINES = 100_000
"""Lines of the log whose new users are numbered together, on one worker."""


class Interaction(NamedTuple):
    """One good interaction; 0 or "" for what the log has no column for.

    `position` orders the log: the number of the line, and the place in it in the lowest bits.
    """

    position: int
    item: str
    time: float
    rating: float
    review_text: str
    summary: str


class UserLog(NamedTuple):
    """A user's interactions in time order, an item once unless repeats are kept; ids are raw."""

    first: int  # the position of the user's first interaction in the log: the order of users
    user: str
    items: Sequence[str]
    times: Sequence[float]  # 0 where the log has none
    ratings: Sequence[float]
    review_texts: Sequence[str]
    summaries: Sequence[str]

    @property
    def distinct(self) -> int:
        return len(set(self.items))

    def to_json(self) -> str:
        return json.dumps(self, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> "UserLog":
        """What `to_json` gave."""
        return cls(*json.loads(line))

    def without(self, items: Set[str]) -> "UserLog":
        """The log without some items."""
        keep = [item not in items for item in self.items]
        if all(keep):
            return self
        first, user, *columns = self
        kept: list[Any] = [list(itertools.compress(column, keep)) for column in columns]
        return UserLog(first, user, *kept)


def user_log(grouped: tuple[str, Iterable[tuple]], keep_repeats: bool, has_time: bool) -> UserLog:
    """Time order with ties in file order; of repeats of an item the earliest stays, or with
    `keep_repeats` the earliest of each moment."""
    user, interactions = grouped
    in_file_order = sorted(map(Interaction._make, interactions), key=lambda it: it.position)
    first = in_file_order[0].position
    seen: set[object] = set()
    kept: list[Interaction] = []
    for interaction in sorted(in_file_order, key=lambda it: it.time):
        same: object = interaction.item
        if keep_repeats:
            same = (interaction.item, interaction.time if has_time else interaction.position)
        if same not in seen:
            seen.add(same)
            kept.append(interaction)
    _, *columns = map(list, zip(*kept, strict=True))
    return UserLog(first, user, *columns)


@dataclasses.dataclass(frozen=True)
class Minimum:
    """The least number of interactions of a user and of an item, an item of a user counted once."""

    user: int
    item: int
    like_threshold: float | None = None  # goes along for the survey of what is left

    @property
    def rounds(self) -> int:
        """The rounds of one pipeline: only where items can leave does one lead to another."""
        return ROUNDS if self.item > 1 else 1


def k_core_rounds(
    users: beam.PCollection, minimum: Minimum
) -> tuple[beam.PCollection, beam.PCollection]:
    """The users after some rounds, and how large the log was before the last of them.

    A round drops the items with too few interactions, then the users whom that leaves with too
    few. When a round drops nothing, the k-core is reached: as in memory it is the largest such
    subset, whatever the order in which users and items are dropped.
    """
    before = users
    for number in range(minimum.rounds):
        before = users
        users = _round(users, minimum, f"round {number}")
    return users, before


def _round(users: beam.PCollection, minimum: Minimum, label: str) -> beam.PCollection:
    if minimum.item <= 1:
        least = minimum.user
        return users | f"{label}: drop users" >> beam.Filter(lambda user: user.distinct >= least)
    rare = (
        users
        | f"{label}: items" >> beam.FlatMap(lambda user: set(user.items))
        | f"{label}: count" >> beam.combiners.Count.PerElement()
        | f"{label}: rare" >> beam.Filter(lambda counted: counted[1] < minimum.item)
        | f"{label}: ids" >> beam.Keys()
        # The items fit on one machine.
        | f"{label}: all rare" >> beam.CombineGlobally(beam.combiners.ToSetCombineFn())
    )
    return users | f"{label}: drop" >> beam.FlatMap(
        _without_rare, beam.pvalue.AsSingleton(rare), minimum.user
    )


def _without_rare(user: UserLog, rare: set[str], least: int) -> Iterator[UserLog]:
    left = user.without(rare)
    # A minimum of 0 or 1 keeps every user that has anything.
    if left.distinct >= max(1, least):
        yield left


def size(users: beam.PCollection, label: str) -> beam.PCollection:
    """(users, different items of theirs), one element."""
    return (
        users
        | f"{label}: sizes" >> beam.Map(lambda user: (1, user.distinct))
        | f"{label}: add up" >> beam.CombineGlobally(_add_pairs)
    )


def _add_pairs(pairs: Iterable[tuple[int, int]]) -> tuple[int, int]:
    first, second = map(sum, zip((0, 0), *pairs, strict=True))
    return first, second


def histogram(values: beam.PCollection, label: str) -> beam.PCollection:
    """[value, count] pairs, one element."""
    return (
        values
        | f"{label}: count" >> beam.combiners.Count.PerElement()
        | f"{label}: list" >> beam.combiners.ToList()
    )


def survey(users: beam.PCollection, like_threshold: float | None) -> dict[str, beam.PCollection]:
    """What writing needs to know, one element each: users by length and by bucket, ties, and what
    the ratings are like."""
    return {
        "lengths": histogram(users | "lengths" >> beam.Map(lambda user: len(user.items)), "length"),
        "buckets": histogram(users | "buckets" >> beam.Map(bucket_of), "bucket"),
        "tied": users | "ties" >> beam.Map(_tied) | "all ties" >> beam.CombineGlobally(_add_pairs),
        "ratings": users
        | "ratings"
        >> beam.Map(
            lambda user: count_ratings(np.asarray(user.ratings, np.float32), like_threshold)
        )
        | "all ratings" >> beam.CombineGlobally(add_counts),
    }


def _tied(user: UserLog) -> tuple[int, int]:
    """Whether the last two items share a time, and if so whether they are in ascending order."""
    if user.times[-1:] != user.times[-2:-1]:
        return 0, 0
    return 1, int(comes_first(user.items[-2], user.items[-1]))


def bucket_of(user: UserLog) -> int:
    """Which part of the log a user first appears in."""
    return (user.first >> PLACE_BITS) // BUCKET_LINES


def item_lines(users: beam.PCollection) -> beam.PCollection:
    """A line of JSON an item: raw id, train count, where its first interaction is in the order of
    users and, of a user, of time, and when it was last trained on."""
    return (
        users
        | "occurrences" >> beam.FlatMap(_occurrences)
        | "by item" >> beam.CombinePerKey(_counts_and_first)
        | "item lines" >> beam.MapTuple(lambda item, found: json.dumps([item, *found]))
    )


_Occurrences = tuple[int, tuple[int, int], float]
"""Train count, the first place, and the latest time in training (-1: none)."""


def _occurrences(user: UserLog) -> Iterator[tuple[str, _Occurrences]]:
    trained = len(user.items) - HELD_OUT["train"]
    for place, (item, time) in enumerate(zip(user.items, user.times, strict=True)):
        in_training = place < trained
        yield item, (int(in_training), (user.first, place), time if in_training else -1.0)


def _counts_and_first(found: Iterable[_Occurrences]) -> _Occurrences:
    counts, places, times = zip((0, (2**63, 0), -1.0), *found, strict=True)
    return sum(counts), min(places), max(times)


def write_facts(facts: dict[str, Any], path: str) -> None:
    """Writes what a pipeline found out, a line of JSON a fact, for the one who started it."""
    named = [
        value | f"fact {name}" >> beam.Map(lambda value, name=name: json.dumps([name, value]))
        for name, value in facts.items()
    ]
    (
        named
        | "facts" >> beam.Flatten()
        | "write facts" >> beam.io.WriteToText(path, shard_name_template="")
    )
