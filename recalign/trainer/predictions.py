"""Predictions on disk, written as they come, so that an interrupted evaluation goes on.

`predictions/<task>-<split>.jsonl` has a line an example: {"row", "prompt", "target", "beams" (text,
best first), "log_probs", …}, and what the metrics need of the beams besides ("tokens", "scores").
`<task>-<split>.settings.json` beside it says what they were made with; lines that other settings
made are thrown away.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath

from recalign.trainer.decoding import HostBeams

FOLDER = "predictions"


class PredictionFile:
    """The predictions of one task on one split."""

    def __init__(self, model_dir: epath.Path, name: str, settings: Mapping[str, Any]):
        """Opens the file; `records` holds what was predicted with the same settings before."""
        self._path = model_dir / FOLDER / f"{name}.jsonl"
        self._settings_path = model_dir / FOLDER / f"{name}.settings.json"
        self.records: dict[int, dict[str, Any]] = {}
        # Every process reads the same lines, and decodes the same examples; one writes.
        self._writes = jax.process_index() == 0
        if self._path.exists() and _read_json(self._settings_path) == dict(settings):
            self.records = {record["index"]: record for record in _whole_lines(self._path)}
        if self._writes:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            _replace(self._path, "".join(map(_line, self.records.values())))
            _replace(self._settings_path, json.dumps(dict(settings)))

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Writes a line a record, unless its example has one."""
        new = [record for record in records if record["index"] not in self.records]
        self.records |= {record["index"]: dict(record) for record in new}
        if self._writes:
            with self._path.open("a") as file:
                file.write("".join(map(_line, new)))

    def finish(self) -> list[dict[str, Any]]:
        """Sorts the lines by example; returns them."""
        ordered = [self.records[index] for index in sorted(self.records)]
        if self._writes:
            _replace(self._path, "".join(map(_line, ordered)))
        return ordered


def beam_record(
    beams: HostBeams, texts_BxK: np.ndarray, place: int, prefix: str = ""
) -> dict[str, Any]:
    """One example's beams, best first, fillers left out, as values of JSON.

    Args:
      beams: of a batch.
      texts_BxK: their texts.
      place: the example's, in the batch.
      prefix: of the names.
    """
    tokens_KxT = beams.tokens_BxKxT[place]
    length_K = np.count_nonzero(tokens_KxT, axis=1)
    exists_K = length_K > 0
    return {
        f"{prefix}beams": texts_BxK[place][exists_K][::-1].tolist(),
        f"{prefix}log_probs": beams.log_probs_BxK[place][exists_K][::-1].tolist(),
        f"{prefix}scores": beams.scores_BxK[place][exists_K][::-1].tolist(),
        f"{prefix}tokens": [
            tokens[:length]
            for tokens, length in zip(tokens_KxT.tolist(), length_K.tolist(), strict=True)
            if length
        ][::-1],
    }


def stacked_beams(records: Sequence[Mapping[str, Any]], prefix: str = "") -> HostBeams:
    """The records' beams as arrays again, ascending; fillers where an example has fewer."""
    beams = max((len(record[f"{prefix}tokens"]) for record in records), default=0)
    length = max(
        (len(tokens) for record in records for tokens in record[f"{prefix}tokens"]), default=0
    )
    tokens_NxKxT = np.zeros((len(records), beams, length), np.int32)
    scores_NxK = np.full((len(records), beams), -1e7, np.float32)
    log_probs_NxK = np.full((len(records), beams), -1e7, np.float32)
    for number, record in enumerate(records):
        for rank, tokens in enumerate(record[f"{prefix}tokens"]):
            place = beams - 1 - rank
            tokens_NxKxT[number, place, : len(tokens)] = tokens
            scores_NxK[number, place] = record[f"{prefix}scores"][rank]
            log_probs_NxK[number, place] = record[f"{prefix}log_probs"][rank]
    return HostBeams(tokens_NxKxT, scores_NxK, log_probs_NxK)


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"


def _whole_lines(path: epath.Path) -> list[dict[str, Any]]:
    """All lines but one that was being written when the process was killed."""
    records = []
    for line in path.read_text().split("\n"):
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records


def _read_json(path: epath.Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _replace(path: epath.Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)
