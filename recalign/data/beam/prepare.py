"""The run from end to end: a few pipelines, and between them what one machine decides."""

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from etils import epath

from recalign.data.atomic import atomic_directory
from recalign.data.beam.filtering import (
    Minimum,
    UserLog,
    item_lines,
    k_core_rounds,
    size,
    survey,
    write_facts,
)
from recalign.data.beam.reading import Account, read_users
from recalign.data.beam.runners import Runner
from recalign.data.beam.writing import Plan, write
from recalign.data.findings import Findings, Ties, summary_of_counts
from recalign.data.finish import finish
from recalign.data.ids import item_order
from recalign.data.preparation import Preparation
from recalign.data.prepare import core_note, nothing_left, repeats_note, short_note
from recalign.data.prepared import PreparedDataset, dataset_path, open_dataset
from recalign.data.readers.builders import no_interactions
from recalign.data.readers.read import read_items
from recalign.data.readers.sources import LogFiles, LogReader
from recalign.data.readers.tally import ReadReport
from recalign.data.records import Shard
from recalign.data.splits import MINIMUM_LENGTH
from recalign.errors import UserError

_Item = tuple[str, int, tuple[int, int], float]
"""Raw id, train count, first place, latest time in training."""


@dataclasses.dataclass(frozen=True)
class _Left:
    """What is left of the log after some pipelines."""

    users: str  # the pattern of the files that hold it
    facts: Mapping[str, Any]  # what the last pipeline found out
    items: Sequence[_Item]

    @property
    def size(self) -> tuple[int, int]:
        """Users, and pairs of a user and an item of theirs."""
        users, pairs = self.facts["end"]
        return users, pairs


def prepare_on_beam(
    files: LogFiles, reader: LogReader, runner: Runner, asked: Preparation, max_bad_fraction: float
) -> tuple[PreparedDataset, ReadReport]:
    """Reads and prepares a log as `read_files` and `prepare` do together, with the same result; a
    UserError too for a job that failed."""
    vocabulary = asked.read_vocabulary()
    with atomic_directory(dataset_path(asked.name, asked.data_dir)) as directory:
        work = directory / "work"
        work.mkdir()
        notes: list[str] = []
        account, seen, left = _filtered(reader, runner, work, asked, max_bad_fraction, notes)
        log_report = reader.report(account.tally(reader.tally()))
        items, report = read_items(files, log_report, seen, max_bad_fraction)
        raw_ids, counts = _in_index_order(left.items, asked)
        notes = [*report.lines(samples=False), *notes]
        findings = _findings(reader, left, notes, asked.like_threshold)
        shards, later = _write_shards(runner, left, raw_ids, findings, asked, directory, work)
        if reader.time is not None:
            findings = dataclasses.replace(findings, trained_later=later / left.size[0])
        work.rmtree()
        finish(
            directory,
            shards,
            raw_ids,
            counts,
            items,
            findings,
            asked,
            log_ids=seen,
            sources=report.sources(),
            vocabulary=vocabulary,
            extra_files={},
        )
    return open_dataset(asked.name, asked.data_dir), report


def _filtered(
    reader: LogReader,
    runner: Runner,
    work: epath.Path,
    asked: Preparation,
    max_bad_fraction: float,
    notes: list[str],
) -> tuple[Account, dict[str, int], _Left]:
    """The log's account, how often each of its items occurs, and what the filters leave."""
    least = asked.k_core
    minimum = Minimum(least, least, asked.like_threshold)
    left = _read(reader, runner, minimum, work / "read", asked.keep_repeats)
    account = Account(**left.facts["account"])
    if account.faults:
        raise UserError(account.faults[0][1])
    tally = account.tally(reader.tally())
    reader.events.check(tally)
    if not tally.accepted:
        raise no_interactions(tally)
    tally.check(max_bad_fraction)
    read = left.facts["read"]
    _, distinct = left.facts["start"]
    whole = left.facts["moments"] if asked.keep_repeats else read
    if distinct < whole:
        notes.append(repeats_note(whole - distinct, whole, asked.keep_repeats))
    left = _until_stable(runner, left, minimum, work / "core")
    users, cored = left.size
    if cored < distinct:
        notes.append(core_note(distinct - cored, least))
    if least < MINIMUM_LENGTH:
        shortest = dataclasses.replace(minimum, user=MINIMUM_LENGTH)
        left = _until_stable(runner, _again(runner, left, shortest, work / "short"), shortest, work)
        if left.size[1] < cored:
            notes.append(short_note(users - left.size[0], cored - left.size[1]))
    if not left.size[1]:
        raise nothing_left(read, least)
    return account, dict(_json_lines(work / "read", "seen")), left


def _read(
    reader: LogReader, runner: Runner, minimum: Minimum, folder: epath.Path, keep_repeats: bool
) -> _Left:
    """The first pipeline: reads the log and runs the first rounds of the k-core."""

    def build(pipeline: beam.Pipeline) -> None:
        users, account, interactions = read_users(pipeline, reader, keep_repeats)
        (
            interactions
            | "seen items" >> beam.Map(lambda keyed: keyed[1][1])
            | "count seen" >> beam.combiners.Count.PerElement()
            | "seen lines" >> beam.Map(json.dumps)
            | "write seen" >> beam.io.WriteToText(str(folder / "seen"))
        )
        facts = {
            "account": account | "account fields" >> beam.Map(dataclasses.asdict),
            "read": interactions | "all good" >> beam.combiners.Count.Globally(),
            "moments": users
            | "moments" >> beam.Map(lambda user: len(user.items))
            | "all moments" >> beam.CombineGlobally(sum),
            "start": size(users, "start"),
        }
        _rounds(users, minimum, folder, facts)

    runner.run(build)
    return _left(folder)


def _until_stable(runner: Runner, left: _Left, minimum: Minimum, folder: epath.Path) -> _Left:
    """Pipelines of more rounds, until the last round of one drops nothing."""
    number = 0
    while minimum.item > 1 and left.facts["before"] != left.facts["end"]:
        left = _again(runner, left, minimum, folder / f"again-{number}")
        number += 1
    return left


def _again(runner: Runner, left: _Left, minimum: Minimum, folder: epath.Path) -> _Left:
    """A pipeline of more rounds over what earlier ones left."""

    def build(pipeline: beam.Pipeline) -> None:
        _rounds(_read_users(pipeline, left.users), minimum, folder, {})

    runner.run(build)
    return _left(folder)


def _rounds(
    users: beam.PCollection, minimum: Minimum, folder: epath.Path, facts: dict[str, Any]
) -> None:
    left, before = k_core_rounds(users, minimum)
    lines = left | "user lines" >> beam.Map(UserLog.to_json)
    lines | "write users" >> beam.io.WriteToText(str(folder / "users"))
    item_lines(left) | "write items" >> beam.io.WriteToText(str(folder / "items"))
    sizes = {"before": size(before, "before"), "end": size(left, "end")}
    write_facts(facts | sizes | survey(left, minimum.like_threshold), str(folder / "facts"))


def _read_users(pipeline: beam.Pipeline, pattern: str) -> beam.PCollection:
    return (
        pipeline
        | "read users" >> beam.io.ReadFromText(pattern)
        | "users" >> beam.Map(UserLog.from_json)
    )


def _left(folder: epath.Path) -> _Left:
    items = [(i, n, tuple(place), t) for i, n, place, t in _json_lines(folder, "items")]
    return _Left(str(folder / "users*"), dict(_json_lines(folder, "facts")), items)


def _json_lines(folder: epath.Path, name: str) -> list[Any]:
    """The values in the lines of all files of that name; JSON never has a line's end inside."""
    paths = sorted(folder.glob(f"{name}*"))
    return [json.loads(line) for path in paths for line in path.read_text().split("\n") if line]


def _in_index_order(items: Sequence[_Item], asked: Preparation) -> tuple[list[str], np.ndarray]:
    """Raw ids and train counts; the permutation is that of `prepare`, over the items alone."""
    by_appearance = sorted(items, key=lambda item: item[2])
    raw_ids = [item[0] for item in by_appearance]
    places = np.arange(len(raw_ids), dtype=np.int32)
    order = item_order(asked.item_ids, raw_ids, places, asked.seed)
    counts = np.asarray([item[1] for item in by_appearance], np.int64)
    return [raw_ids[position] for position in order.tolist()], counts[order]


def _findings(
    reader: LogReader, left: _Left, notes: list[str], like_threshold: float | None
) -> Findings:
    lengths, users = zip(*left.facts["lengths"], strict=True)
    ratings = left.facts["ratings"] if "rating" in reader.columns else None
    return Findings(
        has_reviews="review" in reader.columns,
        pairs=left.size[1],
        users_of_length=np.bincount(lengths, users).astype(np.int64),
        ties=Ties(*left.facts["tied"]) if "time" in reader.columns else None,
        ratings=None if ratings is None else summary_of_counts(ratings, like_threshold),
        cuts=None,
        trained_later=None,
        notes=notes,
    )


def _write_shards(
    runner: Runner,
    left: _Left,
    raw_ids: Sequence[str],
    findings: Findings,
    asked: Preparation,
    directory: epath.Path,
    work: epath.Path,
) -> tuple[list[Shard], int]:
    """The last pipeline: the shards, and how many test items others' training parts hold later."""
    latest = {item[0]: item[3] for item in left.items}
    (work / "index.json").write_text(json.dumps([[raw_id, latest[raw_id]] for raw_id in raw_ids]))
    buckets = sorted(left.facts["buckets"])
    first_rows = itertools.accumulate((users for _, users in buckets), initial=0)
    plan = Plan(
        name=asked.name,
        directory=str(directory),
        work=str(work),
        index_file=str(work / "index.json"),
        first_row={bucket: row for (bucket, _), row in zip(buckets, first_rows, strict=False)},
        users=left.size[0],
        seed=asked.seed,
        has_ratings=findings.has_ratings,
        has_reviews=findings.has_reviews,
    )

    def build(pipeline: beam.Pipeline) -> None:
        shards, later = write(_read_users(pipeline, left.users), plan)
        shards | "write shards" >> beam.io.WriteToText(str(work / "shards"))
        write_facts({"later": later}, str(work / "facts"))

    runner.run(build)
    shards = [Shard(**shard) for shard in _json_lines(work, "shards")]
    return shards, dict(_json_lines(work, "facts"))["later"]
