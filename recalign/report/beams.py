"""What the beams say that no item is: by their place, of the catalogue or of the prompt's pool."""

from __future__ import annotations

import dataclasses

import numpy as np

from recalign.report.corpora import Corpus
from recalign.report.entries import Entry
from recalign.report.predictions import Predictions


@dataclasses.dataclass(frozen=True)
class Validity:
    """How many beams are something that may be answered."""

    entry: Entry  # whose beams
    allowed: str  # "an item" or "a candidate"
    by_place: tuple[float, ...]  # [beams], the share of the users' beams of that place, best first
    overall: float  # the mean over users of the share of their beams


def validity(corpus: Corpus, entry: Entry) -> Validity | None:
    """Of the first run of an entry; None where its beams or the catalogue are not known."""
    if not entry.compares_with_paper or entry.kind == "rating" or not entry.system.runs:
        return None
    predictions = entry.system.runs[0].predictions.get(f"{entry.prompt}_{corpus.name}")
    if predictions is None:
        return None
    if entry.kind == "ranking":
        if predictions.pools is None or not all(predictions.pools):
            return None
        return _share(entry, "a candidate", predictions, predictions.pools)
    prepared = corpus.prepared.get(entry.system.draws[0])
    if prepared is None:
        return None
    catalogue = frozenset(prepared.catalogue.ids)
    return _share(entry, "an item", predictions, [catalogue] * len(predictions.beams))


def _share(entry: Entry, allowed: str, predictions: Predictions, answers: object) -> Validity:
    places = max(len(beams) for beams in predictions.beams)
    valid, filled = np.zeros(places), np.zeros(places)
    shares = []
    for beams, may_be in zip(predictions.beams, answers, strict=True):  # type: ignore[call-overload]
        known = np.array([beam in may_be for beam in beams], np.float64)
        valid[: len(beams)] += known
        filled[: len(beams)] += 1
        shares.append(known.mean() if len(beams) else 0.0)
    return Validity(entry, allowed, tuple((valid / filled).tolist()), float(np.mean(shares)))
