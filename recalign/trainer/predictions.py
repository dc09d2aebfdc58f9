"""Predictions on disk, written as they come, so that an interrupted evaluation goes on.

`predictions/<task>-<split>.jsonl` has a line an example: {"row", "prompt", "target", "beams" (text,
best first), "log_probs", …}, and what the metrics need of the beams besides ("tokens", "scores").
Until all are there, `<task>-<split>.parts/` has a file of such lines for each batch: a file in a
bucket is never added to, only written anew. `<task>-<split>.settings.json` says what they were made
with; lines that other settings made are thrown away, and so are damaged ones: a line's last field
is the digest of the others.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath

from recalign.data import integrity
from recalign.data.atomic import refuse_link, write_whole
from recalign.data.field_checks import Check, also, list_of, object_of, whole
from recalign.errors import UserError
from recalign.model.decode import NO_BEAM, Beams
from recalign.trainer.writers import say

FOLDER = "predictions"


class PredictionFile:
    """The predictions of one task on one split."""

    def __init__(
        self,
        model_dir: epath.Path,
        name: str,
        settings: Mapping[str, Any],
        check: Check = lambda record: True,
    ):
        """Opens the file; `records` holds what was predicted with the same settings before.

        `check`: whether a record is such as its task's are; others are made again.
        """
        self._check = also(object_of({"index": whole(0)}), check)
        self._path = model_dir / FOLDER / f"{name}.jsonl"
        self._parts = model_dir / FOLDER / f"{name}.parts"
        for path in (self._path.parent, self._parts):
            refuse_link(path)
        settings_path = model_dir / FOLDER / f"{name}.settings.json"
        self.records: dict[int, dict[str, Any]] = {}
        # Every process reads the same lines, and decodes the same examples; one writes.
        self._writes = jax.process_index() == 0
        self._damaged = 0
        if _read_json(settings_path) == integrity.sealed(settings):
            for path in (self._path, *sorted(self._parts.glob("*.jsonl"))):
                self.records |= {record["index"]: record for record in self._whole(path)}
            if self._damaged:
                say(f"{name}: {self._damaged:,} damaged predictions are made again")
        elif self._writes:
            self._path.unlink(missing_ok=True)
            self._remove_parts()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(settings_path, json.dumps(integrity.sealed(settings)))

    def _whole(self, path: epath.Path) -> Iterator[dict[str, Any]]:
        """The records of a file that are as they were written; others are made again."""
        # Not by splitlines: a text of a catalogue may hold other separators.
        lines = path.read_bytes().split(b"\n") if path.exists() else []
        for line in filter(None, lines):
            try:
                record = integrity.parse_json(line, str(path))
            except UserError:
                record = None
            if integrity.is_sealed(record) and self._check(record):
                yield record
            else:
                self._damaged += 1

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Writes a line a record, unless its example has one."""
        new = [
            integrity.sealed(record, integrity.DIGITS_OF_A_LINE)
            for record in records
            if record["index"] not in self.records
        ]
        if self._writes and new:
            self._parts.mkdir(parents=True, exist_ok=True)
            _write(self._parts / f"{len(self.records):08}.jsonl", new)
        self.records |= {record["index"]: record for record in new}

    def finish(self, **more: Sequence[Any]) -> list[dict[str, Any]]:
        """Brings all lines into one file, by example, with `more` values by name; returns them."""
        ordered = [self.records[index] for index in sorted(self.records)]
        for name, values in more.items():
            ordered = [
                integrity.sealed({**record, name: value}, integrity.DIGITS_OF_A_LINE)
                for record, value in zip(ordered, values, strict=True)
            ]
        if self._writes:
            _write(self._path, ordered)
            self._remove_parts()
        return ordered

    def _remove_parts(self) -> None:
        if self._parts.exists():
            self._parts.rmtree()


def fingerprint_of_examples(examples: Sequence[Mapping[str, np.ndarray]]) -> str:
    """A digest of all that the examples hold: what is asked, what is right, and of whom."""
    digest = hashlib.sha256()
    for example in examples:
        for name in sorted(example):
            value = np.asarray(example[name])
            digest.update(f"{name} {value.dtype} {value.shape}".encode())
            digest.update(repr(value.tolist()).encode() if value.dtype == object else value.data)
    return digest.hexdigest()


def beam_record(
    beams: Beams, texts_BxK: np.ndarray, place: int, prefix: str = ""
) -> dict[str, Any]:
    """The beams of the example at a place of a batch, best first, fillers left out, for JSON."""
    tokens_KxT = np.asarray(beams.tokens_BxKxT[place])
    length_K = np.count_nonzero(tokens_KxT, axis=1)
    best_first = np.flatnonzero(length_K)[::-1]
    return {
        f"{prefix}beams": texts_BxK[place][best_first].tolist(),
        f"{prefix}log_probs": beams.log_probs_BxK[place][best_first].tolist(),
        f"{prefix}scores": beams.scores_BxK[place][best_first].tolist(),
        f"{prefix}tokens": [tokens_KxT[k, : length_K[k]].tolist() for k in best_first],
    }


def log_prob(value: Any) -> bool:
    """A float, an infinite one too, or an integer that becomes one."""
    return type(value) is float or whole(-(2**53))(value)


def holds_beams(most: int, longest: int, vocab_size: int, prefix: str = "") -> Check:
    """Whether a record has what `beam_record` writes, of at most so many beams and tokens."""
    checks = {
        f"{prefix}beams": list_of(lambda value: isinstance(value, str)),
        f"{prefix}log_probs": list_of(log_prob),
        f"{prefix}scores": list_of(log_prob),
        f"{prefix}tokens": list_of(list_of(whole(0, vocab_size - 1), range(1, longest + 1))),
    }

    def of_one_length(record: Mapping[str, Any]) -> bool:
        lengths = {len(record[name]) for name in checks}
        return len(lengths) == 1 and max(lengths) <= most

    return also(object_of(checks), of_one_length)


def stacked_beams(records: Sequence[Mapping[str, Any]], prefix: str = "") -> Beams:
    """The records' beams as arrays again, ascending; fillers where an example has fewer."""
    beams = max((len(record[f"{prefix}tokens"]) for record in records), default=0)
    length = max(
        (len(tokens) for record in records for tokens in record[f"{prefix}tokens"]), default=0
    )
    tokens_NxKxT: Any = np.zeros((len(records), beams, length), np.int32)
    scores_NxK: Any = np.full((len(records), beams), NO_BEAM, np.float32)
    log_probs_NxK: Any = np.full((len(records), beams), NO_BEAM, np.float32)
    for number, record in enumerate(records):
        for rank, tokens in enumerate(record[f"{prefix}tokens"]):
            place = beams - 1 - rank
            tokens_NxKxT[number, place, : len(tokens)] = tokens
            scores_NxK[number, place] = record[f"{prefix}scores"][rank]
            log_probs_NxK[number, place] = record[f"{prefix}log_probs"][rank]
    return Beams(tokens_NxKxT, scores_NxK, log_probs_NxK)


def _write(path: epath.Path, records: Sequence[Mapping[str, Any]]) -> None:
    lines = (json.dumps(record, ensure_ascii=False) for record in records)
    write_whole(path, "".join(f"{line}\n" for line in lines))


def _read_json(path: epath.Path) -> Any:
    try:
        return integrity.read_json(path)
    except UserError:
        return None
