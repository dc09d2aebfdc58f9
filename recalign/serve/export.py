"""Recommendations for many users in a Parquet file: written in parts, and resumed by them.

`OUT.parts/` holds a file a part, each of the same number of users and written whole, and
settings.json, which says what they are made with. The same command again makes those that are
missing; several hosts make some each. Whoever finds them all there joins them to OUT and removes
them; an older OUT stays until then.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from etils import epath
from jaxtyping import Bool

from recalign.data import integrity
from recalign.data.atomic import whole_file, write_whole
from recalign.errors import UserError
from recalign.serve.histories import Histories
from recalign.trainer.lengths import chosen_lengths
from recalign.trainer.progress import done_line

if TYPE_CHECKING:
    from recalign.trainer.item_index import Query
    from recalign.trainer.recommend import Recommendation, Recommender

SCHEMA = pa.schema(
    [
        ("user", pa.string()),
        ("rank", pa.int32()),
        ("id", pa.string()),
        ("raw_id", pa.string()),
        ("title", pa.string()),
        ("probability", pa.float64()),
        ("untrained", pa.bool_()),
    ]
)
"""A row an item: `user` is the raw ID, `rank` begins with 1; `untrained`: it is of --new_items."""

USERS_OF_A_PART = 1_024
# The prompts' lengths are looked at of so many users, the same ones in every process.
_LOOKED_AT = 4_096
_SECONDS_BETWEEN_LINES = 10.0


class Shard(NamedTuple):
    """One of several hosts, by its number from 0; it makes every `hosts`-th part."""

    number: int = 0
    hosts: int = 1


class Exporter:
    """Recommends to many users: the parts of one file."""

    def __init__(
        self,
        recommender: Recommender,
        histories: Histories,
        out: epath.PathLike,
        *,
        k: int,
        allowed: Bool[np.ndarray, " N"] | None = None,
        exclusions: Mapping[str, Iterable[int]] | None = None,
        users_of_a_part: int = USERS_OF_A_PART,
    ):
        """Refuses parts that are there and were made with other settings.

        `out` is local or gs://; `exclusions` are what a user, by the raw ID, is not to get.
        """
        self._recommender, self._histories, self._k = recommender, histories, k
        self._allowed, self._exclusions = allowed, exclusions or {}
        self._size = users_of_a_part
        self._out = epath.Path(out)
        self._parts = self._out.with_name(f"{self._out.name}.parts")
        self.parts = -(-len(histories) // self._size)
        self._open(self._settings())

    def _settings(self) -> dict[str, Any]:
        """What decides on the content, in values of JSON."""
        excluded = {user: [int(item) for item in items] for user, items in self._exclusions.items()}
        allowed = None if self._allowed is None else np.flatnonzero(self._allowed).tolist()
        weights = self._recommender.weights
        return {
            "prior": None if weights is None else dataclasses.asdict(weights),
            "checkpoint step": self._recommender.step,
            "new items": self._recommender.new_items,
            "run": integrity.digest_of_json(self._recommender.made_from),
            "histories": self._histories.digest,
            "k": self._k,
            "only": None if allowed is None else integrity.digest_of_json(allowed),
            "exclude": integrity.digest_of_json(excluded),
            "repeats": self._recommender.repeats,
            "users of a part": self._size,
        }

    def _open(self, settings: Mapping[str, Any]) -> None:
        path = self._parts / "settings.json"
        if path.exists():
            before = integrity.read_sealed(path)
            for name, value in settings.items():
                if before.get(name) != value:
                    raise UserError(
                        f"{self._parts}: begun with another {name} ({before.get(name)}, now"
                        f" {value}): remove the folder, or give another --out"
                    )
            return
        if self._out.exists() and self._out.is_dir():
            raise UserError(f"{self._out}: a folder is there: --out names a file")
        self._parts.mkdir(parents=True, exist_ok=True)
        write_whole(path, integrity.sealed_json(settings))

    def run(self, shard: Shard, say: Callable[[str], None]) -> bool:
        """Makes this host's parts, and the file where they are the last; says whether it did."""
        mine = range(shard.number, self.parts, shard.hosts)
        missing = self._missing(mine)
        total, before = self._users(mine), self._users(mine) - self._users(missing)
        if before:
            say(f"{before:,} of {total:,} users were done before")
        lengths = self._lengths() if missing else []
        begun = said = time.perf_counter()
        done, compiled = before, None
        for part in missing:
            _write(self._path(part), [self._table(part, lengths)])
            done, now = done + self._users([part]), time.perf_counter()
            if now - said > _SECONDS_BETWEEN_LINES or done == total:
                said = now
                # The first part compiled: it does not count once there is another.
                since, already = compiled or (begun, before)
                rate = (done - already) / max(now - since, 1e-9)
                say(done_line(done, total, "users", rate))
            compiled = compiled or (now, done)
        if left := len(self._missing(range(self.parts))):
            say(
                f"{left:,} of {self.parts:,} parts are other hosts': the last one to end joins them"
            )
            return False
        return self._join(shard)

    def _missing(self, parts: Sequence[int]) -> list[int]:
        return [part for part in parts if not self._path(part).exists()]

    def _users(self, parts: Sequence[int]) -> int:
        return sum(len(self._numbers(part)) for part in parts)

    def _numbers(self, part: int) -> range:
        return range(part * self._size, min((part + 1) * self._size, len(self._histories)))

    def _path(self, part: int) -> epath.Path:
        return self._parts / f"{part:06}-of-{self.parts:06}.parquet"

    def _lengths(self) -> list[int]:
        """What prompts are padded to: the same in every process, whichever parts it makes."""
        looked_at = range(0, len(self._histories), max(1, len(self._histories) // _LOOKED_AT))
        of_prompts = self._recommender.prompt_lengths([self._query(n) for n in looked_at])
        longest, batch = self._recommender.longest_prompt, self._recommender.largest_batch
        return sorted({*chosen_lengths(of_prompts, longest, batch), longest})

    def _query(self, number: int) -> Query:
        histories = self._histories
        return self._recommender.query_of(
            histories.of(number),  # type: ignore[arg-type]
            self._k,
            self._allowed,
            self._exclusions.get(histories.users[number], ()),
            int(histories.rows[number]),
        )

    def _table(self, part: int, lengths: Sequence[int]) -> pa.Table:
        numbers = self._numbers(part)
        answers = self._recommender.answer([self._query(number) for number in numbers], lengths)
        return _table([self._histories.users[number] for number in numbers], answers)

    def _join(self, shard: Shard) -> bool:
        """Puts the parts into one file, a row group each, and removes them."""
        parts = (_read(self._path(part)) for part in range(self.parts))
        try:
            _write(self._out, parts, f".{shard.number}")
            self._parts.rmtree()
        except FileNotFoundError:
            return False  # another host ended at the same time, and was quicker
        return True


def _write(path: epath.Path, tables: Iterable[pa.Table], mark: str = "") -> None:
    """Writes a file whole or not at all, a row group a table."""
    with (
        whole_file(path, mark) as file,
        pq.ParquetWriter(file, SCHEMA, write_page_checksum=True) as writer,
    ):
        for table in tables:
            writer.write_table(table)


def _read(path: epath.Path) -> pa.Table:
    with path.open("rb") as file:
        try:
            return pq.ParquetFile(file, page_checksum_verification=True).read()
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(
                f"{path}: damaged: remove it, and the same command makes it again ({error})"
            ) from error


def _table(users: Sequence[str], answers: Sequence[Sequence[Recommendation]]) -> pa.Table:
    rows = [
        (user, rank, item.id, item.raw_id, item.title, item.score, item.untrained)
        for user, items in zip(users, answers, strict=True)
        for rank, item in enumerate(items, start=1)
    ]
    columns = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)
