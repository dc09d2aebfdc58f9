"""`recalign prepare NAME`: from files, local or downloaded, to a prepared dataset."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from recalign.data.beam.runners import find_runner
from recalign.data.download import download
from recalign.data.preparation import Preparation
from recalign.data.prepare import prepare
from recalign.data.prepared import PreparedDataset
from recalign.data.readers.read import check_fraction, read_files
from recalign.data.readers.sources import FORMATS, ReadOptions, find_log, format_of, log_reader
from recalign.data.readers.tally import DEFAULT_MAX_BAD_FRACTION
from recalign.data.statistics import PAPER_TABLE_7
from recalign.data.temporal import LEAVE_ONE_OUT
from recalign.errors import UserError

# McAuley et al., SIGIR 2015. The publisher gives no checksums with the files, so none are written
# here: the first download's are recorded beside the files and hold from then on
# (`download.download`). Whether the log is the paper's is seen in its Table 7 row.
_BASE = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"

FORMAT = "amazon2014"

KNOWN_LOGS = {"toys": "Toys_and_Games", "beauty": "Beauty", "sports": "Sports_and_Outdoors"}
"""Name -> the publisher's name of the category: three of the Amazon 2014 5-core logs."""


def prepare_from_files(
    name: str,
    *,
    data_dir: str | os.PathLike,
    format: str | None = None,
    interactions: str | os.PathLike | None = None,
    items: str | os.PathLike | None = None,
    columns: Mapping[str, str] | None = None,
    max_bad_fraction: float = DEFAULT_MAX_BAD_FRACTION,
    beam_runner: str | None = None,
    beam_options: str = "",
    **settings: Any,
) -> tuple[PreparedDataset, list[str]]:
    """Reads, prepares, and tells what a person should know.

    Args:
        name: "toys", "beauty", "sports", which are downloaded to `<data_dir>/downloads` unless
            `interactions` is given; or the user's own.
        format, interactions, items, columns, max_bad_fraction: as `find_log` and `read_files` take
            them. The format of a known log is Amazon's of 2014 unless it is given; that of a table
            may be left to the ending of its name.
        beam_runner: "direct", "dataflow", "flink" or "spark", for a log that outgrows a machine;
            None to prepare in memory. The dataset is the same.
        beam_options: Beam's own flags, in one text.
        settings: fields of `Preparation` and of `ReadOptions`.

    Returns:
        The dataset, and lines: columns that were guessed, bad lines, what was dropped.
    """
    of_preparation = {field.name for field in dataclasses.fields(Preparation)} & settings.keys()
    asked = Preparation(name, data_dir, **{key: settings.pop(key) for key in of_preparation})
    if interactions is None:
        if items is not None:
            raise UserError("--items without --interactions: give both, or none for a known name")
        if name not in KNOWN_LOGS:
            raise UserError(
                f"no log is known by the name {name!r} (known: {', '.join(KNOWN_LOGS)}, demo):"
                " give --format and --interactions"
            )
        interactions, items = fetch_known(name, os.path.join(data_dir, "downloads"))
        format = format or FORMAT
    format = format or _format_of(name, os.fspath(interactions))
    # Below 0 a rating is a fault, unless it is said what a like is on that scale.
    defaults = {"negative_ratings": asked.like_threshold is not None, "has_verb": bool(asked.verb)}
    options = ReadOptions(**defaults | settings)
    check_fraction(max_bad_fraction)
    if beam_runner is not None:
        if asked.split != LEAVE_ONE_OUT:
            raise UserError(
                "--split temporal is not there with --beam_runner: leave one of them out"
            )
        runner = find_runner(beam_runner, beam_options, [os.fspath(interactions), str(data_dir)])
    elif beam_options:
        raise UserError("--beam_options without --beam_runner: say where the pipelines run")
    files = find_log(format, interactions, items, columns or {}, options)
    if beam_runner is None:
        log, item_table, report = read_files(files, max_bad_fraction)
        noticed = report.lines(samples=False)
        dataset = prepare(log, item_table, sources=report.sources(), noticed=noticed, **vars(asked))
    else:
        # Only here, so that Beam is needed only for this.
        from recalign.data.beam.prepare import prepare_on_beam

        dataset, report = prepare_on_beam(files, log_reader(files), runner, asked, max_bad_fraction)
    own = dataset.info["notes"][len(report.lines(samples=False)) :]
    return dataset, [*report.lines(), *own, *_beside_the_paper(dataset)]


def _format_of(name: str, path: str) -> str:
    if name in KNOWN_LOGS:
        return FORMAT
    if found := format_of(path):
        return found
    raise UserError(f"{path}: say its --format: {', '.join(FORMATS)}")


def _beside_the_paper(dataset: PreparedDataset) -> list[str]:
    paper = PAPER_TABLE_7.get(dataset.name)
    differing = [
        f"{figure} {dataset.info[figure]:,} instead of {paper[figure]:,}"
        for figure in ("users", "items", "interactions")
        if paper and dataset.info[figure] != paper[figure]
    ]
    return [f"warning: not the paper's log: {', '.join(differing)}"] if differing else []


def fetch_known(name: str, directory: str | os.PathLike) -> tuple[str, str]:
    """The paths of a known log's reviews and metadata, downloaded where they are not there yet."""

    def fetched(file: str) -> str:
        return os.fspath(download(f"{_BASE}/{file}", os.path.join(directory, file)))

    category = KNOWN_LOGS[name]
    return fetched(f"reviews_{category}_5.json.gz"), fetched(f"meta_{category}.json.gz")
