"""Where a run's numbers go: metrics.jsonl, TensorBoard and the line on the terminal."""

import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import tensorflow as tf
from etils import epath

from recalign.data import integrity
from recalign.data.atomic import refuse_link, write_whole

METRICS_FILE = "metrics.jsonl"
CONFIG_FILE = "config.gin"


class MetricsWriter:
    """Appends to MODEL_DIR/metrics.jsonl and to TensorBoard's event files.

    Lines past the step that a run goes on from are taken away first, so that a resumed run leaves
    neither gaps nor repeats: what it trains again it also writes again. A line ends with its number
    in the file and the digest of its other fields: a damaged line is told and taken away, and one
    that somebody cut out is missed.
    """

    def __init__(
        self, directory: epath.Path, first_step: int, enabled: bool = True, lines: int | None = None
    ):
        """Opens the log of a run that goes on from `first_step`.

        Its checkpoint says how many lines there were then; None where it does not. Only a process
        that is enabled writes.
        """
        self.lines = 0
        self._path = directory / METRICS_FILE
        self._enabled = enabled
        if not enabled:
            return
        directory.mkdir(parents=True, exist_ok=True)
        refuse_link(self._path)
        self.lines = _keep_lines_until(self._path, first_step)
        if lines is not None and lines != self.lines:
            say(f"{self._path}: {self.lines:,} of its {lines:,} lines until step {first_step:,}")
            self.lines = lines
        self._board = tf.summary.create_file_writer(os.fspath(directory))

    def write(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """Writes {"step", "time", "kind", **values, "line", "sha256"}; values may be nested."""
        if not self._enabled:
            return
        self.lines += 1
        now = round(time.time(), 3)
        record = {"step": step, "time": now, "kind": kind, **values, "line": self.lines}
        with self._path.open("a") as file:
            file.write(json.dumps(integrity.sealed(record, integrity.DIGITS_OF_A_LINE)) + "\n")
        with self._board.as_default():
            for name, value in _flat(values):
                tf.summary.scalar(f"{kind}/{name}", value, step=step)
        self._board.flush()


def _keep_lines_until(path: epath.Path, step: int) -> int:
    """Takes later lines away; returns the number of the last one that stays."""
    if not path.exists():
        return 0
    lines = path.read_bytes().splitlines(keepends=True)
    need_digests = integrity.has_digests(lines)
    kept: list[bytes] = []
    last = 0
    for number, line in enumerate(lines, start=1):
        record = integrity.record_of(line, need_digests)
        if record is not None and line.endswith(b"\n") and _is_of_a_step(record):
            if record["step"] <= step:
                kept.append(line)
                last = record.get("line", last + 1)
        elif number < len(lines) or line.endswith(b"\n"):  # else a killed run's, cut
            say(f"{path}, line {number} is damaged and is taken away")
    write_whole(path, b"".join(kept).decode())
    return last


def _is_of_a_step(record: Mapping[str, Any]) -> bool:
    """Whether a line says its step, and its number in the file if any, as numbers: without a digest
    it may hold anything."""
    numbers = (record.get("step"), record.get("line", 0))
    return all(type(number) is int and 0 <= number < 2**53 for number in numbers)


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    pairs = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            pairs += _flat(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)):
            pairs.append((prefix + name, float(value)))
    return pairs


def say(message: str) -> None:
    """One line on the terminal, at once; of several processes the first one speaks."""
    if jax.process_index() == 0:
        print(message, file=sys.stderr, flush=True)


def describe(metrics: Mapping[str, float]) -> str:
    """Metrics as a line has them.

    >>> describe({"hr@10": 0.25, "num_examples": 200.0})
    'hr@10 0.2500, num_examples 200'
    """
    return ", ".join(
        f"{name} {value:.0f}" if value == int(value) and abs(value) > 1 else f"{name} {value:.4f}"
        for name, value in metrics.items()
        if not np.isnan(value)
    )
