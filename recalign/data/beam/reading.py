"""From a file to every user's part of the log: the first pipeline's first half."""

import bisect
import collections
import dataclasses
import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from etils import epath

from recalign.data.beam.filtering import PLACE_BITS, Interaction, user_log
from recalign.data.readers.builders import TIME_UNIT_BOUNDS, InteractionCollector, reject_time_unit
from recalign.data.readers.lines import Span, open_file, raw_lines
from recalign.data.readers.parquet_files import Parquet
from recalign.data.readers.sources import LogReader
from recalign.data.readers.tables import Table
from recalign.data.readers.tally import MOST_SAMPLES, Tally
from recalign.errors import UserError

SPAN_BYTES = 16 * 2**20
"""What a worker reads at once."""

_CHUNK = 2**20
_ODD_TIME = 2**62
"""Sorts samples of odd times behind all others, as in memory, where they are found last."""


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a file of the log."""

    file: str
    span: Span | None = None  # None for all of it
    before: int = 0  # the number of lines in the files before it

    @property
    def first(self) -> int:
        """The number of its first line in the whole log."""
        return self.before + (self.span.first if self.span else 1)


@dataclasses.dataclass(frozen=True)
class Bytes:
    """A part of a file of lines, and what `count_lines` saw in it; `end` 0 for all of a file that
    cannot be cut."""

    file: str
    start: int
    end: int
    lines: int = 0
    quotes: bool = False


@dataclasses.dataclass(frozen=True)
class Account:
    """What became of lines: like a `Tally`, but of parts, to be added up."""

    accepted: int = 0
    rejected: int = 0
    samples: tuple[tuple[int, str], ...] = ()  # (order, text) of bad lines, the first ones
    faults: tuple[tuple[int, str], ...] = ()  # (order, text) of what ends the run
    units: tuple[int, ...] = (0,) * (len(TIME_UNIT_BOUNDS) + 1)  # interactions by time unit
    events: tuple[tuple[str, int], ...] = ()  # (kind, lines)
    files: tuple[tuple[int, str], ...] = ()  # (number of lines before it, path)
    unrated: int = 0

    @property
    def usual_unit(self) -> int:
        """The time unit of most interactions, the smaller one of two."""
        return self.units.index(max(self.units))

    def tally(self, empty: Tally) -> Tally:
        """As a tally of the whole log."""
        return dataclasses.replace(
            empty,
            accepted=self.accepted,
            rejected=self.rejected,
            samples=[text for _, text in self.samples],
            events=dict(self.events),
            unrated=self.unrated,
        )

    def place(self, line: int) -> tuple[str, int]:
        """The file of a line of the whole log, and the line's number there."""
        before, file = max(start for start in self.files if start[0] < line)
        return file, line - before


def add_accounts(accounts: Iterable[Account]) -> Account:
    """The account of all parts together."""
    total = [Account(), *accounts]
    events = collections.Counter[str]()
    for account in total:
        events.update(dict(account.events))

    def all_of(name: str) -> list[tuple]:
        return sorted(tuple(each) for account in total for each in getattr(account, name))

    return Account(
        sum(account.accepted for account in total),
        sum(account.rejected for account in total),
        tuple(all_of("samples")[:MOST_SAMPLES]),
        tuple(all_of("faults")[:1]),
        tuple(map(sum, zip(*(account.units for account in total), strict=True))),
        tuple(sorted(events.items())),
        tuple(dict.fromkeys(all_of("files"))),
        sum(account.unrated for account in total),
    )


def read_users(
    pipeline: beam.Pipeline, reader: LogReader, keep_repeats: bool
) -> tuple[beam.PCollection, beam.PCollection, beam.PCollection]:
    """Every `UserLog`, the whole log's `Account` (one element), and (user, `Interaction`'s fields)
    of every good line."""
    read = (
        _parts(pipeline, reader)
        # Otherwise one worker would read the parts one after another.
        | "spread parts" >> beam.Reshuffle()
        | "read" >> beam.ParDo(_Read(reader)).with_outputs("accounts", main="interactions")
    )
    account = read.accounts | "account of lines" >> beam.CombineGlobally(add_accounts)
    interactions = read.interactions
    has_time = reader.time is not None
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
    users = grouped | "in time order" >> beam.Map(user_log, keep_repeats, has_time)
    return users, account, interactions


def _parts(pipeline: beam.Pipeline, reader: LogReader) -> beam.PCollection:
    source = reader.source
    if isinstance(source.table, Parquet):
        parts = list(_row_groups(source.table, source.files))
        return pipeline | "row groups" >> beam.Create(parts, reshuffle=False)
    ranges = [part for file in source.files for part in _ranges(source.table, file)]
    return (
        pipeline
        | "bytes" >> beam.Create(ranges, reshuffle=False)
        | "spread bytes" >> beam.Reshuffle()
        | "count lines" >> beam.Map(count_lines)
        | "all counts" >> beam.combiners.ToList()
        | "parts" >> beam.FlatMap(plan_parts, source.files, source.table.may_quote)
    )


def _row_groups(table: Parquet, files: Sequence[str]) -> Iterator[Part]:
    before = 0
    for file in files:
        for span in table.spans(file):
            yield Part(file, span, before)
        before += table.number_of_rows(file)


def _ranges(table: Table, file: str) -> Iterator[Bytes]:
    if not table.can_be_cut(file):
        yield Bytes(file, 0, 0)
        return
    size = epath.Path(file).stat().length
    for start, end in itertools.pairwise([*range(0, size, SPAN_BYTES), size]):
        yield Bytes(file, start, end)


def count_lines(part: Bytes) -> Bytes:
    """How many lines begin in a part of a file: at its first byte, or behind a line's end."""
    if not part.end:
        try:
            return dataclasses.replace(part, lines=sum(1 for _ in raw_lines(part.file)))
        except UserError:
            return part  # Whoever reads it says what is wrong.
    lines = int(part.start == 0)
    quotes = False
    with open_file(part.file) as file:
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


def plan_parts(counted: list[Bytes], files: Sequence[str], may_quote: bool) -> Iterator[Part]:
    """The parts with the numbers of their first lines; all of a file in one where a line may be
    inside quotes that another part opened, and where it cannot be cut."""
    before = 0
    for file in files:
        parts = sorted((p for p in counted if p.file == file), key=lambda part: part.start)
        if not all(p.end for p in parts) or (may_quote and any(p.quotes for p in parts)):
            yield Part(file, None, before)
        else:
            first = 1
            for part in parts:
                yield Part(file, Span(part.start, part.end, first), before)
                first += part.lines
        before += sum(part.lines for part in parts)


class _Collector(InteractionCollector):
    """Collects the interactions of a few lines."""

    def __init__(self, tally: Tally, before: int, **columns: Any) -> None:
        super().__init__(tally, **columns)
        self._before = before
        self._line = self._place = 0
        self.units = [0] * (len(TIME_UNIT_BOUNDS) + 1)
        self.latest: list[tuple[str, tuple]] = []

    def _store(
        self, line: int, user: str, item: str, time: float, stars: float, review: str, summary: str
    ) -> None:
        self._place = self._place + 1 if line == self._line else 0
        self._line = line
        self.units[bisect.bisect_right(TIME_UNIT_BOUNDS, time)] += 1
        position = self._before + line << PLACE_BITS | self._place
        # A plain tuple: Beam has a fast coder for it.
        self.latest.append((user, (position, item, time, stars, review, summary)))


class _Read(beam.DoFn):
    """A part of the file -> its interactions by user, and its account."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader

    def process(self, part: Part) -> Iterator[Any]:
        # Whether the file is hopeless is for the whole account to say.
        tally = dataclasses.replace(self._reader.tally(), hopeless=sys.maxsize)
        collector = _Collector(tally, part.before, **self._reader.has)
        faults: tuple[tuple[int, str], ...] = ()
        try:
            for _ in self._reader.feed(collector, tally, part.file, part.span):
                if collector.latest:
                    yield from collector.latest
                    collector.latest.clear()
        except UserError as error:
            faults = ((part.first, str(error)),)
        samples = tuple((part.first + n, text) for n, text in enumerate(tally.samples))
        account = Account(
            tally.accepted,
            tally.rejected,
            samples,
            faults,
            tuple(collector.units),
            tuple(tally.events.items()),
            ((part.before, part.file),),
            tally.unrated,
        )
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
        file, number = account.place(line)
        reject_time_unit(tally, number, interaction.time, usual, file)
        odd = Account(tally.accepted, tally.rejected, ((_ODD_TIME + line, tally.samples[0]),))
        yield beam.pvalue.TaggedOutput("accounts", odd)
