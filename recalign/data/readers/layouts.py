"""Published logs whose files and columns are known: MovieLens and three editions of Amazon."""

import dataclasses
from types import ModuleType

from etils import epath

from recalign.data.readers import csv_files, json_lines, python_literals
from recalign.errors import UserError


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a published log lies on disk.

    Attributes:
        log_table, item_table: the modules that read its two files.
        log_columns, item_columns: role -> column.
        log_file, item_file: the files' names inside the published folder, without ".gz", where
            they are always the same.
    """

    log_table: ModuleType
    log_columns: dict[str, str]
    item_table: ModuleType
    item_columns: dict[str, str]
    log_file: str | None = None
    item_file: str | None = None


LAYOUTS = {
    "movielens": Layout(
        log_table=csv_files,
        log_columns={
            "user": "userId",
            "item": "movieId",
            "time": "timestamp",
            "rating": "rating",
        },
        item_table=csv_files,
        item_columns={"item": "movieId", "title": "title", "categories": "genres"},
        log_file="ratings.csv",
        item_file="movies.csv",
    ),
    # The metadata of 2014 are Python literals, one a line, although the files are named .json.
    "amazon2014": Layout(
        log_table=json_lines,
        log_columns={
            "user": "reviewerID",
            "item": "asin",
            "time": "unixReviewTime",
            "rating": "overall",
        },
        item_table=python_literals,
        item_columns={
            "item": "asin",
            "title": "title",
            "brand": "brand",
            "price": "price",
            "categories": "categories",
            "description": "description",
        },
    ),
    "amazon2018": Layout(
        log_table=json_lines,
        log_columns={
            "user": "reviewerID",
            "item": "asin",
            "time": "unixReviewTime",
            "rating": "overall",
        },
        item_table=json_lines,
        item_columns={
            "item": "asin",
            "title": "title",
            "brand": "brand",
            "price": "price",
            "categories": "category",
            "description": "description",
        },
    ),
    # Variants of a product share a parent, which is what the metadata describe.
    "amazon2023": Layout(
        log_table=json_lines,
        log_columns={
            "user": "user_id",
            "item": "parent_asin",
            "time": "timestamp",
            "rating": "rating",
        },
        item_table=json_lines,
        item_columns={
            "item": "parent_asin",
            "title": "title",
            "brand": "store",
            "price": "price",
            "categories": "categories",
            "description": "description",
        },
    ),
}


def published_files(
    layout: Layout, interactions_path: str, items_path: str | None
) -> tuple[str, str | None]:
    """The two files, where the first path may be the published folder.

    Raises:
        UserError: a folder without the log's file.
    """
    folder = epath.Path(interactions_path)
    if layout.log_file is None or layout.item_file is None or not folder.is_dir():
        return interactions_path, items_path
    log = _plain_or_gzipped(folder, layout.log_file)
    if log is None:
        raise UserError(f"{interactions_path}: no {layout.log_file} or {layout.log_file}.gz in it")
    return log, items_path or _plain_or_gzipped(folder, layout.item_file)


def _plain_or_gzipped(folder: epath.Path, name: str) -> str | None:
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.exists():
            return str(candidate)
    return None
