"""A task's predictions of a run: where the answers stood, which beams there were, some samples."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

from recalign import metrics
from recalign.report.outcomes import DECODINGS, Outcomes, Ranks, Scores

_SAMPLES = 3
_BEAMS_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class Beam:
    """A beam as the page shows it; the probability is of the whole text, end included."""

    text: str
    probability: float | None
    is_target: bool


@dataclasses.dataclass(frozen=True)
class Sample:
    """An example of a task: what the model read, what was asked for, what it answered.

    `rank` and `pool_rank` count from 1; None: not among the beams. `pool` holds the first answers
    of a decoding restricted to the prompt's candidates, where there was one.
    """

    prompt: str
    target: str
    beams: tuple[Beam, ...]
    beams_left_out: int
    rank: int | None
    pool: tuple[str, ...]
    pool_rank: int | None


@dataclasses.dataclass(frozen=True)
class Predictions:
    """A predictions file, sorted by row."""

    rows: Int64[np.ndarray, " n"]  # the users' rows in the dataset
    targets: tuple[str, ...]  # n answers that were asked for
    beams: tuple[tuple[str, ...], ...]  # n lists of texts, best first
    pools: tuple[tuple[str, ...], ...] | None  # n lists of candidates in the prompt's order
    outcomes: Mapping[str, Outcomes]  # by way of decoding, of `outcomes.DECODINGS`
    samples: tuple[Sample, ...]  # the first examples


def read_predictions(
    records: Iterable[Mapping[str, Any]], answers: Sequence[str] = ()
) -> Predictions | None:
    """Takes what the report needs of the lines of a file; None where there are none.

    `answers` are the two words of a rating task, the negative one first.
    """
    lines = []
    samples = []
    for number, record in enumerate(records):
        if number < _SAMPLES:
            samples.append(_sample(record))
        lines.append(_needed(record, number, answers))
    if not lines:
        return None
    lines.sort(key=lambda line: line["row"])
    columns = {name: tuple(line[name] for line in lines) for name in lines[0]}
    rows = np.array(columns["row"], np.int64)
    labels = np.array(columns["label"], np.int8) if "label" in columns else None
    outcomes: dict[str, Outcomes] = {}
    for way in DECODINGS:
        if f"outcome_{way}" in columns:
            found = np.array(columns[f"outcome_{way}"], np.float64)
            outcomes[way] = Ranks(rows, found) if labels is None else Scores(rows, found, labels)
    return Predictions(
        rows, columns["target"], columns["beams"], columns.get("pool"), outcomes, tuple(samples)
    )


def _needed(record: Mapping[str, Any], number: int, answers: Sequence[str]) -> dict[str, Any]:
    beams, target = _stripped(record, "beams"), str(record.get("target", "")).strip()
    line: dict[str, Any] = {"row": int(record.get("row", number)), "target": target, "beams": beams}
    exact = record.get("exact_log_probs")
    if "label" in record:
        no, yes = answers or metrics.YES_NO
        line["label"] = int(record["label"])
        line["outcome_"] = metrics.yes_no_score(beams, np.array(record["log_probs"]), (no, yes))
        if exact:
            line["outcome_exact"] = exact[1] - exact[0]
        return line
    line["outcome_"] = metrics.rank_in(target, beams)
    if "fused_beams" in record:
        line["outcome_fused"] = metrics.rank_in(target, record["fused_beams"])
    if "candidates_beams" in record:
        line["outcome_candidates"] = metrics.rank_in(target, _stripped(record, "candidates_beams"))
    if "candidates" in record:
        line["pool"] = tuple(record["candidates"])
        if exact:
            places = np.arange(len(line["pool"]))
            place = line["pool"].index(target)
            line["outcome_exact"] = metrics.rank_among(np.array(exact), places, place)
    return line


def _stripped(record: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Texts without the white space around them, as metrics compare them."""
    return tuple(str(text).strip() for text in record.get(name) or ())


def _sample(record: Mapping[str, Any]) -> Sample:
    texts = [str(text) for text in record.get("beams") or ()]
    pool = [str(text) for text in record.get("candidates_beams") or ()]
    target = str(record.get("target", ""))
    chances = [math.exp(log_prob) for log_prob in record.get("log_probs") or ()]
    shown = itertools.zip_longest(texts[:_BEAMS_SHOWN], chances[: len(texts)][:_BEAMS_SHOWN])
    return Sample(
        prompt=str(record.get("prompt", "")),
        target=target,
        beams=tuple(Beam(text, chance, text == target) for text, chance in shown),
        beams_left_out=max(0, len(texts) - _BEAMS_SHOWN),
        rank=texts.index(target) + 1 if target in texts else None,
        pool=tuple(pool[:_BEAMS_SHOWN]),
        pool_rank=pool.index(target) + 1 if target in pool else None,
    )
