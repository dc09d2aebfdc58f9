"""The same systems, users and items under other item IDs.

Sequential IDs, as P5 numbers items, give answers away; semantic ones tell what an item is like.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from recalign.data.prepared import PreparedDataset
from recalign.report.corpora import Corpus
from recalign.report.differences import Difference, difference, differences_table
from recalign.report.entries import Entry
from recalign.report.outcomes import KINDS, metrics_of
from recalign.report.tables import Table

_LEAK = (
    "Sequential IDs number the items in the order of the users' sequences, held-out items among"
    " them: what they add is a leak and no result."
)


def tables_of_ids(corpora: Sequence[Corpus]) -> list[Table]:
    """What other IDs than random ones change, a table a pair of corpora and kind of task."""
    tables = []
    for random, other in itertools.permutations(corpora, 2):
        if random.item_ids != "random" or other.item_ids in ("", "random"):
            continue
        if not _same_log(random, other):
            continue
        for kind in KINDS:
            found = differences_table(
                f"{other.item_ids} against random IDs in {kind} on {random.label}",
                _differences(random, other, kind),
                notes=(_LEAK,) if other.item_ids == "sequential" else (),
            )
            if found is not None:
                tables.append(found)
    return tables


def _differences(random: Corpus, other: Corpus, kind: str) -> list[Difference]:
    pairs = itertools.product(other.of_kind(kind), random.of_kind(kind))
    found = (
        difference(
            _called(first, f"{first.system.label}, {other.item_ids} IDs"),
            _called(second, f"{random.item_ids} IDs"),
            metric,
        )
        for first, second in pairs
        if first.system.runs and _line(first) == _line(second)
        for metric in metrics_of(kind)
    )
    return [each for each in found if each is not None]


def _line(entry: Entry) -> tuple[str, str, str]:
    return entry.system.key, entry.prompt, entry.decoding


def _called(entry: Entry, label: str) -> Entry:
    return dataclasses.replace(entry, system=dataclasses.replace(entry.system, label=label))


def _same_log(first: Corpus, second: Corpus) -> bool:
    """Whether the same users, in the same order, were asked for the same items in every draw."""
    draws = set(first.prepared) & set(second.prepared)
    if first.split != second.split or not draws:
        return False
    pairs = ((first.prepared[draw], second.prepared[draw]) for draw in draws)
    return all(_answers(one, first.split) == _answers(two, first.split) for one, two in pairs)


def _answers(dataset: PreparedDataset, split: str) -> list[tuple[int, str]]:
    """Every user's row and the log's own name of the item that is asked for."""
    sequences = dataset.sequences(split)
    last = sequences.items[sequences.row_splits[1:] - 1]
    names = np.array(dataset.catalogue.raw_ids)[last]
    return list(zip(sequences.rows.tolist(), names.tolist(), strict=True))
