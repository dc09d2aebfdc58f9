"""P5 with random IDs against P5 with sequential ones: what the numbering gives away."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from recalign.report.corpora import Corpus
from recalign.report.differences import difference, span
from recalign.report.entries import Entry
from recalign.report.outcomes import main_metric
from recalign.report.tables import metric_name, signed


def leak_lines(corpora: Sequence[Corpus]) -> list[str]:
    """A line a task that P5 was run on with both kinds of IDs, over the same users."""
    lines = []
    for first, second in itertools.permutations(corpora, 2):
        if not (_is_p5(first, "random") and _is_p5(second, "sequential")):
            continue
        if not _same_log(first, second):
            continue
        for random, sequential in _pairs(first, second):
            metric = main_metric(random.kind)
            found = difference(sequential, random, metric)
            if found is None:
                continue
            lines.append(
                f"{random.label}, {random.prompt}: {metric_name(metric)}"
                f" {random.mean(metric):.4f} with random IDs,"
                f" {sequential.mean(metric):.4f} with sequential ones"
                f" ({signed(found.value, 4)}, 95 % {span(found.interval, 4)})."
            )
    return lines


def _is_p5(corpus: Corpus, item_ids: str) -> bool:
    return (
        corpus.prepared is not None
        and corpus.prepared.info.get("item_ids") == item_ids
        and any(entry.system.key.startswith("p5/") for entry in corpus.entries)
    )


def _same_log(first: Corpus, second: Corpus) -> bool:
    """Two preparations of one log number the same users alike."""
    assert first.prepared is not None and second.prepared is not None
    counts = ("users", "items", "interactions")
    mine, theirs = first.prepared.info, second.prepared.info
    return first.split == second.split and all(mine[c] == theirs[c] for c in counts)


def _pairs(first: Corpus, second: Corpus) -> Iterator[tuple[Entry, Entry]]:
    for mine in first.entries:
        for theirs in second.entries:
            same = (mine.system.key, mine.prompt, mine.restricted) == (
                theirs.system.key,
                theirs.prompt,
                theirs.restricted,
            )
            if same and mine.system.key.startswith("p5/"):
                yield mine, theirs
