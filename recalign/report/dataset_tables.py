"""Tables 7 and 10: what a dataset holds, and what its tasks give, the paper's figures beside."""

from __future__ import annotations

from collections.abc import Sequence

from recalign.data.prepared import PreparedDataset
from recalign.data.splits import SPLITS
from recalign.data.statistics import P5_TASKS, PAPER_TABLE_7, PAPER_TABLE_10, dataset_statistics
from recalign.report.tables import MISSING, Cell, Table, as_text, key_of


def statistics_text(label: str, dataset: PreparedDataset, history_length: int) -> str:
    """Both tables for a terminal, and what was noticed when the dataset was prepared."""
    tables = table_7([(label, dataset)]), table_10(label, dataset, history_length)
    notes = dataset.info["notes"]
    noticed = ["\n".join(["noticed when it was prepared:", *notes])] if notes else []
    return "\n\n".join([*(f"{it.title}\n{as_text(it)}" for it in tables), *noticed])


def table_7(datasets: Sequence[tuple[str, PreparedDataset]]) -> Table:
    """A row a dataset, by its label, and the paper's row below those that it has."""
    rows = []
    for label, dataset in datasets:
        rows.append((Cell(label), *_figures_7(dataset.info)))
        if dataset.name in PAPER_TABLE_7:
            paper = PAPER_TABLE_7[dataset.name]
            rows.append((Cell(f"{dataset.name}, paper"), *_figures_7(paper)))
    columns = ("dataset", "users", "items", "interactions", "sparsity %", "sequence length")
    return Table("table-7", "Table 7. The datasets", columns, tuple(rows))


def _figures_7(figures: dict) -> list[Cell]:
    counts = [Cell(f"{figures[n]:,}", figures[n]) for n in ("users", "items", "interactions")]
    mean, spread = figures["sequence_length_mean"], figures["sequence_length_std"]
    return [
        *counts,
        Cell(f"{figures['sparsity_percent']:.2f}", figures["sparsity_percent"]),
        Cell(f"{mean:.2f} ± {spread:.2f}", mean),
    ]


def ids_table(datasets: Sequence[tuple[str, PreparedDataset]]) -> Table | None:
    """What semantic ids are made of, a row a dataset that has them; None where none has."""
    rows = []
    for label, dataset in datasets:
        if figures := dataset.info.get("semantic_ids"):
            use, purity = figures["codebook_use"], figures["prefix_purity"] or ()
            shares = (use, purity, figures["chance_purity"] if purity else ())
            rows.append(
                (
                    Cell(label),
                    Cell(figures["embed"]),
                    Cell(f"{len(use)} of {figures['codebook_size']}"),
                    Cell(f"{figures['collision_rate']:.2%}", figures["collision_rate"]),
                    *(Cell(", ".join(f"{it:.0%}" for it in each) or MISSING) for each in shares),
                )
            )
    if not rows:
        return None
    return Table(
        key="semantic-ids",
        title="Semantic item IDs",
        columns=("dataset", "texts", "codes", "collisions", "codebook use", "purity", "by chance"),
        rows=tuple(rows),
        notes=(
            "Collisions: items whose codes are another item's too; a number tells them apart."
            " Codebook use: the centres of each level that any item has. Purity: items whose"
            " category is the most frequent one among those with the same first code, codes, …;"
            " by chance: the same for groups of the same sizes, filled at random.",
        ),
    )


def table_10(label: str, dataset: PreparedDataset, history_length: int) -> Table:
    """A row a task: samples of each split of a dataset, by its label."""
    statistics = dataset_statistics(dataset, history_length)
    paper = PAPER_TABLE_10.get(dataset.name)
    rows = []
    for task, counts in statistics["samples"].items():
        cells = [Cell(task)]
        for split in SPLITS:
            if paper:
                cells.append(_paper_count(task, split, counts, paper))
            cells.append(Cell(f"{counts[split]:,}", counts[split]))
        rows.append(tuple(cells))
    notes = [f"Histories of up to {history_length} items."]
    if paper:
        notes.append("DS: sampled anew at every epoch; ours is the number of samples an epoch.")
    notes += [f"No {task}: {why}." for task, why in statistics.get("omitted", {}).items()]
    return Table(
        key=key_of("table", 10, label),
        title=f"Table 10. Samples: {label}",
        groups=tuple((split, 2) for split in SPLITS) if paper else (),
        columns=("task", *(("paper", "ours") * 3 if paper else SPLITS)),
        rows=tuple(rows),
        notes=tuple(notes),
    )


def _paper_count(task: str, split: str, counts: dict, paper: dict) -> Cell:
    if task in P5_TASKS:
        return Cell(MISSING)
    if counts["test"]:
        return Cell(f"{paper[split]:,}", paper[split])
    return Cell("DS" if split == "train" else "0")
