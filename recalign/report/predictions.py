"""A task's predictions of a run: where the answers stood, which beams there were, some samples."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Int64

from recalign import metrics
from recalign.report.outcomes import Outcomes, Ranks, Scores

_SAMPLES = 3
_BEAMS_SHOWN = 5
# What may follow the last candidate.
_ENDS = ".?!;:"


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
    """A predictions file, sorted by row.

    Attributes:
      rows: int64 [n], the users' rows in the dataset.
      targets: n answers that were asked for.
      beams: n lists of texts, best first.
      pools: the candidates in the prompt's order, n lists; None where the prompts have none.
      outcomes: by way of decoding, "" as the beams come and "candidates" restricted to the pool.
      samples: the first examples.
    """

    rows: Int64[np.ndarray, " n"]
    targets: tuple[str, ...]
    beams: tuple[tuple[str, ...], ...]
    pools: tuple[tuple[str, ...], ...] | None
    outcomes: Mapping[str, Outcomes]
    samples: tuple[Sample, ...]


def read_predictions(records: Iterable[Mapping[str, Any]]) -> Predictions | None:
    """Takes what the report needs of the lines of a file; None where there are none."""
    lines = []
    samples: list[Sample] = []
    for number, record in enumerate(records):
        if len(samples) < _SAMPLES:
            samples.append(_sample(record))
        lines.append(_needed(record, number))
    if not lines:
        return None
    lines.sort(key=lambda line: line["row"])
    rows = np.array([line["row"] for line in lines], np.int64)
    outcomes: dict[str, Outcomes] = {}
    if "label" in lines[0]:
        outcomes[""] = Scores(
            rows,
            np.array([line["score"] for line in lines], np.float64),
            np.array([line["label"] for line in lines], np.int8),
        )
    else:
        outcomes[""] = Ranks(rows, np.array([line["rank"] for line in lines], np.float64))
    if "pool_rank" in lines[0]:
        ranks = np.array([line["pool_rank"] for line in lines], np.float64)
        outcomes["candidates"] = Ranks(rows, ranks)
    return Predictions(
        rows=rows,
        targets=tuple(line["target"] for line in lines),
        beams=tuple(line["beams"] for line in lines),
        pools=tuple(line["pool"] for line in lines) if "pool" in lines[0] else None,
        outcomes=outcomes,
        samples=tuple(samples),
    )


def _needed(record: Mapping[str, Any], number: int) -> dict[str, Any]:
    # The metrics, too, compare texts without the white space around them.
    beams = tuple(str(text).strip() for text in record.get("beams") or ())
    target = str(record.get("target", "")).strip()
    line: dict[str, Any] = {"row": int(record.get("row", number)), "target": target, "beams": beams}
    if "label" in record:
        line["label"] = int(record["label"])
        line["score"] = metrics.yes_no_score(
            beams, np.array(record["log_probs"]), _answers(target, beams)
        )
    else:
        line["rank"] = metrics.rank_in(target, beams)
    if "candidates_beams" in record:
        line["pool_rank"] = metrics.rank_in(
            target, [str(text).strip() for text in record["candidates_beams"]]
        )
        line["pool"] = pool_in(str(record.get("prompt", "")), target)
    return line


def _answers(target: str, beams: tuple[str, ...]) -> tuple[str, str]:
    """P5 asks for like or dislike, recalign's own task for yes or no."""
    words = {target, *beams}
    return metrics.LIKE_DISLIKE if words & set(metrics.LIKE_DISLIKE) else metrics.YES_NO


def pool_in(prompt: str, target: str) -> tuple[str, ...]:
    """The list of IDs in a prompt that holds the target, in its order; empty where there is none.

    >>> pool_in("He has I1, I9. Candidate items are: I7, I2, I3.", "I2")
    ('I7', 'I2', 'I3')
    """
    places = list(re.finditer(rf"(?<!\w){re.escape(target)}(?!\w)", prompt)) if target else []
    if not places:
        return ()
    before = prompt[: places[-1].start()].split(", ")
    after = prompt[places[-1].end() :].split(", ")
    pool = [target]
    if before[-1] == "":
        for piece in reversed(before[:-1]):
            words = piece.split()
            pool[:0] = words[-1:]
            if len(words) != 1:
                break
    if after[0] == "":
        for piece in after[1:]:
            words = piece.split()
            if len(words) == 1 or (words and words[0][-1] in _ENDS):
                pool.append(words[0])
            if len(words) != 1:
                break
    pool[-1] = pool[-1].rstrip(_ENDS)
    return tuple(pool)


def _sample(example: Mapping[str, Any]) -> Sample:
    texts = [str(text) for text in example.get("beams") or ()]
    pool = [str(text) for text in example.get("candidates_beams") or ()]
    log_probs = list(example.get("log_probs") or ())
    target = str(example.get("target", ""))
    beams = tuple(
        Beam(
            text=text,
            probability=math.exp(log_probs[index]) if index < len(log_probs) else None,
            is_target=text == target,
        )
        for index, text in enumerate(texts)
    )
    return Sample(
        prompt=str(example.get("prompt", "")),
        target=target,
        beams=beams[:_BEAMS_SHOWN],
        beams_left_out=max(0, len(beams) - _BEAMS_SHOWN),
        rank=texts.index(target) + 1 if target in texts else None,
        pool=tuple(pool[:_BEAMS_SHOWN]),
        pool_rank=pool.index(target) + 1 if target in pool else None,
    )
