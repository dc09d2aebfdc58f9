"""From a file to every user's part of the log: the first pipeline's first half."""

import bisect
import dataclasses
import itertools
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from etils import epath

from recalign.data.beam.users import PLACE_BITS, Interaction, UserLog, user_log
from recalign.data.readers import csv_files, parquet_files
from recalign.data.readers.builders import TIME_UNIT_BOUNDS, InteractionCollector, reject_time_unit
from recalign.data.readers.lines import Span, is_gzipped, open_file
from recalign.data.readers.sources import LogReader
from recalign.data.readers.tally import MOST_SAMPLES, Tally
from recalign.errors import UserError

SPAN_BYTES = 16 * 2**20
"""What a worker reads at once."""

_CHUNK = 2**20
_ODD_TIME = 2**62
"""Sorts samples of odd times behind all others, as in memory, where they are found last."""


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of the file; `span` None for all of it."""

    span: Span | None

    @property
    def first(self) -> int:
        """The number of its first line."""
        return self.span.first if self.span else 1


@dataclasses.dataclass(frozen=True)
class Bytes:
    """A part of a file of lines, and what `count_lines` saw in it."""

    start: int
    end: int
    lines: int = 0
    quotes: bool = False


@dataclasses.dataclass(frozen=True)
class Account:
    """What became of lines: like a `Tally`, but of parts, to be added up.

    Attributes:
        accepted, rejected: lines.
        samples: (order, text) of bad lines, the first ones.
        faults: (order, text) of what ends the run.
        units: interactions by time unit, as `TIME_UNIT_BOUNDS` parts them.
    """

    accepted: int = 0
    rejected: int = 0
    samples: tuple[tuple[int, str], ...] = ()
    faults: tuple[tuple[int, str], ...] = ()
    units: tuple[int, ...] = (0,) * (len(TIME_UNIT_BOUNDS) + 1)

    @property
    def usual_unit(self) -> int:
        """The time unit of most interactions, the smaller one of two."""
        return self.units.index(max(self.units))

    def tally(self, empty: Tally) -> Tally:
        """As a tally of the whole file."""
        texts = [text for _, text in self.samples]
        return dataclasses.replace(
            empty, accepted=self.accepted, rejected=self.rejected, samples=texts
        )


def add_accounts(accounts: Iterable[Account]) -> Account:
    """The account of all parts together."""
    total = list(accounts)
    return Account(
        sum(account.accepted for account in total),
        sum(account.rejected for account in total),
        tuple(sorted(sample for account in total for sample in account.samples)[:MOST_SAMPLES]),
        tuple(sorted(fault for account in total for fault in account.faults)[:1]),
        tuple(map(sum, zip(Account().units, *(account.units for account in total), strict=True))),
    )


def read_users(
    pipeline: beam.Pipeline, reader: LogReader, has_time: bool
) -> tuple[beam.PCollection, beam.PCollection, beam.PCollection]:
    """Every `UserLog`, the whole file's `Account` (one element), and how many good interactions
    each user has."""
    read = (
        _parts(pipeline, reader)
        # Otherwise one worker would read the parts one after another.
        | "spread parts" >> beam.Reshuffle()
        | "read" >> beam.ParDo(_Read(reader)).with_outputs("accounts", main="interactions")
    )
    account = read.accounts | "account of lines" >> beam.CombineGlobally(add_accounts)
    interactions = read.interactions
    if has_time:
        dropped = interactions | "drop odd times" >> beam.ParDo(
            _DropOddTimes(reader), beam.pvalue.AsSingleton(account)
        ).with_outputs("accounts", main="interactions")
        interactions = dropped.interactions
        account = (
            (account, dropped.accounts)
            | "both accounts" >> beam.Flatten()
            | "whole account" >> beam.CombineGlobally(add_accounts)
        )
    grouped = interactions | "by user" >> beam.GroupByKey()
    users = grouped | "in time order" >> beam.MapTuple(_user_log)
    counts = grouped | "count" >> beam.MapTuple(lambda _, group: sum(1 for _ in group))
    return users, account, counts


def _user_log(user: str, interactions: Iterable[tuple]) -> UserLog:
    return user_log(user, map(Interaction._make, interactions))


def _parts(pipeline: beam.Pipeline, reader: LogReader) -> beam.PCollection:
    if reader.table is parquet_files:
        spans = [Part(span) for span in parquet_files.spans(reader.path)]
        return pipeline | "row groups" >> beam.Create(spans, reshuffle=False)
    if is_gzipped(reader.path):
        return pipeline | "whole file" >> beam.Create([Part(None)], reshuffle=False)
    size = epath.Path(reader.path).stat().length
    cuts = [*range(0, size, SPAN_BYTES), size]
    ranges = [Bytes(*cut) for cut in itertools.pairwise(cuts)]
    return (
        pipeline
        | "bytes" >> beam.Create(ranges, reshuffle=False)
        | "spread bytes" >> beam.Reshuffle()
        | "count lines" >> beam.Map(count_lines, reader.path)
        | "all counts" >> beam.combiners.ToList()
        | "parts" >> beam.FlatMap(plan_parts, reader.table is csv_files)
    )


def count_lines(part: Bytes, path: str) -> Bytes:
    """How many lines begin in a part of a file: at its first byte, or behind a line's end."""
    lines = int(part.start == 0)
    quotes = False
    with open_file(path) as file:
        place = max(0, part.start - 1)
        file.seek(place)
        while place < part.end - 1:
            chunk = file.read(min(_CHUNK, part.end - 1 - place))
            if not chunk:
                break
            place += len(chunk)
            lines += chunk.count(b"\n")
            quotes = quotes or b'"' in chunk
        quotes = quotes or file.read(1) == b'"'
    return dataclasses.replace(part, lines=lines, quotes=quotes)


def plan_parts(counted: list[Bytes], is_csv: bool) -> Iterator[Part]:
    """The parts with the numbers of their first lines; all in one where a line of CSV may be
    inside quotes that another part opened."""
    if is_csv and any(part.quotes for part in counted):
        yield Part(None)
        return
    first = 1
    for part in sorted(counted, key=lambda part: part.start):
        yield Part(Span(part.start, part.end, first))
        first += part.lines


class _Collector(InteractionCollector):
    """Collects the interactions of a few lines."""

    def __init__(self, tally: Tally, **columns: bool) -> None:
        super().__init__(tally, **columns)
        self._line = self._place = 0
        self.units = [0] * (len(TIME_UNIT_BOUNDS) + 1)
        self.latest: list[tuple[str, tuple]] = []

    def _store(
        self,
        line: int,
        user: str,
        item: str,
        seconds: float,
        stars: float,
        texts: tuple[str, str],
    ) -> None:
        self._place = self._place + 1 if line == self._line else 0
        self._line = line
        self.units[bisect.bisect_right(TIME_UNIT_BOUNDS, seconds)] += 1
        position = line << PLACE_BITS | self._place
        # A plain tuple: Beam has a fast coder for it.
        self.latest.append((user, (position, item, seconds, stars, *texts)))


class _Read(beam.DoFn):
    """A part of the file -> its interactions by user, and its account."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader

    def process(self, part: Part) -> Iterator[Any]:
        # Whether the file is hopeless is for the whole account to say.
        tally = dataclasses.replace(self._reader.tally(), hopeless=sys.maxsize)
        collector = _Collector(tally, **self._reader.has)
        faults: tuple[tuple[int, str], ...] = ()
        try:
            for _ in self._reader.feed(collector, tally, part.span):
                if collector.latest:
                    yield from collector.latest
                    collector.latest.clear()
        except UserError as error:
            faults = ((part.first, str(error)),)
        samples = tuple((part.first + n, text) for n, text in enumerate(tally.samples))
        account = Account(tally.accepted, tally.rejected, samples, faults, tuple(collector.units))
        yield beam.pvalue.TaggedOutput("accounts", account)


class _DropOddTimes(beam.DoFn):
    """Interactions whose time is in another unit than most are bad lines."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader

    def process(self, keyed: tuple[str, tuple], account: Account) -> Iterator[Any]:
        interaction = Interaction._make(keyed[1])
        usual = account.usual_unit
        if bisect.bisect_right(TIME_UNIT_BOUNDS, interaction.time) == usual:
            yield keyed
            return
        tally = self._reader.tally()
        line = interaction.position >> PLACE_BITS
        reject_time_unit(tally, line, interaction.time, usual)
        odd = Account(tally.accepted, tally.rejected, ((_ODD_TIME + line, tally.samples[0]),))
        yield beam.pvalue.TaggedOutput("accounts", odd)
