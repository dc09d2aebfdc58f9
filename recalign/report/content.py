"""The report before it has a format: everything that it shows, in the order in which it does."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from etils import epath

from recalign.data.prepared import PreparedDataset
from recalign.report import analysis, paper, summary
from recalign.report.baselines import Baselines, is_baselines, read_baselines
from recalign.report.charts import Chart
from recalign.report.comparison import place_of_task
from recalign.report.corpora import Corpus, gather
from recalign.report.dataset_tables import ids_table, table_7, table_10
from recalign.report.differences import claims, differences_table, tables_of_ids
from recalign.report.outcomes import KINDS
from recalign.report.paper_tables import paper_alone, paper_tables
from recalign.report.predictions import Sample
from recalign.report.run import Run, names_of, read_run
from recalign.report.systems import baseline_system
from recalign.report.tables import Table
from recalign.report.training import Setup, baselines_table, cost_table, curves, setup_of

_HISTORY_LENGTH = 20


@dataclasses.dataclass(frozen=True)
class Content:
    """Everything that a report shows."""

    title: str  # what a stranger reads first
    lead: tuple[str, ...]
    headlines: tuple[summary.Headline, ...]
    gaps: tuple[tuple[str, str], ...]  # (whose, a sentence): what could not be shown
    # The paper's tables with ours; `paper_only` those that nothing was run for.
    results: tuple[Table, ...]
    paper_only: tuple[Table, ...]
    differences: tuple[Table, ...]  # claims and their intervals, and what other item IDs change
    curves: tuple[Chart, ...]  # charts, most with a table of the same figures
    by_user: tuple[analysis.Panel, ...]
    ratings: tuple[analysis.Panel, ...]
    beams: tuple[analysis.Panel, ...]
    # (row and task, examples), of the first seed.
    samples: tuple[tuple[str, tuple[Sample, ...]], ...]
    setups: tuple[Setup, ...]  # how to run each row again
    other_tables: tuple[Table, ...]  # cost, baselines' settings, datasets

    def tables(self) -> list[Table]:
        panels = [*self.by_user, *self.ratings, *self.beams]
        return [
            *self.results,
            *self.differences,
            *(panel.table for panel in panels),
            *self.other_tables,
            *self.paper_only,
        ]


def read(directories: Sequence[epath.PathLike], data_dir: epath.PathLike | None) -> Content:
    """Reads runs and baselines folders; one that is given twice counts once.

    The arguments and the errors are those of `formats.write_report`.
    """
    distinct = list({epath.Path(d).resolve(): d for d in directories}.values())
    named = list(zip(distinct, names_of(distinct), strict=True))
    folders = [read_baselines(d, name) for d, name in named if is_baselines(d)]
    runs = [read_run(d, name) for d, name in named if not is_baselines(d)]
    return content(runs, folders, data_dir)


def content(
    runs: Sequence[Run], folders: Sequence[Baselines], data_dir: epath.PathLike | None = None
) -> Content:
    """Everything that the report shows of these runs and baselines."""
    corpora = gather(runs, folders, data_dir)
    sources: list[Run | Baselines] = [*runs, *folders]
    rows = _rows(corpora, runs)
    named = [
        (label if len(seeds) == 1 else f"{label} [{run.name}]", run)
        for label, seeds in rows
        for run in seeds
    ]
    differences = [
        differences_table(f"{kind} on {corpus.label}", claims(corpus, kind))
        for corpus in corpora
        for kind in KINDS
    ]
    covered = {corpus.name for corpus in corpora if corpus.split == "test"}
    others = [name for name in paper.DATASETS if name not in covered]
    return Content(
        title=summary.title(corpora, [run.name for run in runs]),
        lead=tuple(summary.lead(corpora)),
        headlines=tuple(summary.headlines(corpora)),
        gaps=tuple((it.name, gap) for it in sources for gap in it.gaps)
        + tuple((corpus.label, gap) for corpus in corpora for gap in corpus.gaps),
        results=tuple(table for corpus in corpora for table in paper_tables(corpus)),
        paper_only=tuple(paper_alone(others) if len(others) < len(paper.DATASETS) else ()),
        differences=(*tables_of_ids(corpora), *filter(None, differences)),
        curves=tuple(curves(rows)),
        by_user=tuple(p for corpus in corpora for p in analysis.panels_by_user(corpus)),
        ratings=tuple(p for corpus in corpora for p in analysis.panels_of_ratings(corpus)),
        beams=tuple(p for corpus in corpora for p in analysis.panels_of_beams(corpus)),
        samples=tuple(
            (f"{label}: {task}", seeds[0].predictions[task].samples)
            for label, seeds in rows
            for task in sorted(seeds[0].predictions, key=place_of_task)
        ),
        setups=tuple(setup_of(label, seeds) for label, seeds in rows),
        other_tables=_other_tables(corpora, named, folders),
    )


def _rows(corpora: Sequence[Corpus], runs: Sequence[Run]) -> list[tuple[str, list[Run]]]:
    """Every row of the tables with its seeds, then what was not evaluated; each run once."""
    found = [(corpus, system) for corpus in corpora for system in corpus.systems]
    taken = [system.label for _, system in found]
    rows, placed = [], set()
    for corpus, system in found:
        seeds = [run for run in system.runs if id(run) not in placed]
        placed |= {id(run) for run in seeds}
        several = taken.count(system.label) > 1
        label = f"{system.label} on {corpus.label}" if several else system.label
        if seeds:
            rows.append((label, seeds))
    return rows + [(run.name, [run]) for run in runs if id(run) not in placed]


def _other_tables(
    corpora: Sequence[Corpus], named: Sequence[tuple[str, Run]], folders: Sequence[Baselines]
) -> tuple[Table, ...]:
    systems = [
        (baseline_system(name).label + (f" [{folder.name}]" if len(folders) > 1 else ""), about)
        for folder in folders
        for name, about in folder.systems.items()
    ]
    prepared: dict[str, tuple[str, PreparedDataset]] = {}
    samples: dict[str, Table] = {}
    for corpus in corpora:
        for draw, dataset in corpus.prepared.items():
            several = len(corpus.prepared) > 1
            label = f"{corpus.label}, seed {draw}" if several else corpus.label
            prepared.setdefault(str(dataset.directory), (label, dataset))
        # The draws of a planted corpus have all about as many.
        for dataset in list(corpus.prepared.values())[:1]:
            label, _ = prepared[str(dataset.directory)]
            samples[label] = table_10(label, dataset, _history_length(corpus))
    tables = [cost_table(named, systems), baselines_table(systems)]
    if prepared:
        named_datasets = list(prepared.values())
        tables += [table_7(named_datasets), ids_table(named_datasets), *samples.values()]
    return tuple(table for table in tables if table is not None)


def _history_length(corpus: Corpus) -> int:
    """What the first run was trained with."""
    for system in corpus.systems:
        for run in system.runs:
            length = run.configuration and run.configuration.settings.get("HISTORY_LENGTH")
            if isinstance(length, int):
                return length
    return _HISTORY_LENGTH
