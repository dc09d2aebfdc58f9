"""Published logs whose files and columns are known: MovieLens and three editions of Amazon."""

import dataclasses

from etils import epath

from recalign.data.readers.delimited import Csv, Tsv
from recalign.data.readers.objects import JSON, PYTHON
from recalign.data.readers.tables import Table
from recalign.errors import UserError


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a published log lies on disk.

    Attributes:
        log_table, item_table: what reads its two files.
        log_columns, item_columns: role -> column.
        log_file, item_file: the files' names inside the published folder, without ".gz", where
            they are always the same.
    """

    log_table: Table
    log_columns: dict[str, str]
    item_table: Table
    item_columns: dict[str, str]
    log_file: str | None = None
    item_file: str | None = None


_RATINGS = {"user": "user", "item": "item", "time": "timestamp", "rating": "rating"}

LAYOUTS = {
    "movielens": Layout(
        log_table=Csv(),
        log_columns={
            "user": "userId",
            "item": "movieId",
            "time": "timestamp",
            "rating": "rating",
        },
        item_table=Csv(),
        item_columns={"item": "movieId", "title": "title", "categories": "genres"},
        log_file="ratings.csv",
        item_file="movies.csv",
    ),
    # The metadata of 2014 are Python literals, one a line, although the files are named .json.
    "amazon2014": Layout(
        log_table=JSON,
        log_columns={
            "user": "reviewerID",
            "item": "asin",
            "time": "unixReviewTime",
            "rating": "overall",
            "review": "reviewText",
            "summary": "summary",
        },
        item_table=PYTHON,
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
        log_table=JSON,
        log_columns={
            "user": "reviewerID",
            "item": "asin",
            "time": "unixReviewTime",
            "rating": "overall",
            "review": "reviewText",
            "summary": "summary",
        },
        item_table=JSON,
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
        log_table=JSON,
        log_columns={
            "user": "user_id",
            "item": "parent_asin",
            "time": "timestamp",
            "rating": "rating",
            "review": "text",
            "summary": "title",
        },
        item_table=JSON,
        item_columns={
            "item": "parent_asin",
            "title": "title",
            "brand": "store",
            "price": "price",
            "categories": "categories",
            "description": "description",
        },
    ),
    # The "ratings only" files of 2014, with the same edition's metadata. (Those of 2018 have the
    # item first; those of 2023 have a header: --format csv.)
    "amazon_ratings": Layout(
        log_table=Tsv(names=("user", "item", "rating", "timestamp"), separator=",", quotes=False),
        log_columns=_RATINGS,
        item_table=PYTHON,
        item_columns={
            "item": "asin",
            "title": "title",
            "brand": "brand",
            "price": "price",
            "categories": "categories",
            "description": "description",
        },
    ),
}

# MovieLens before 2014: 1M and 10M.
_MOVIELENS_DAT = Layout(
    log_table=Tsv(names=("user", "item", "rating", "timestamp"), separator="::", quotes=False),
    log_columns=_RATINGS,
    item_table=Tsv(
        # 1M is Latin-1, 10M UTF-8.
        ("utf-8", "latin-1"),
        names=("item", "title", "genres"),
        separator="::",
        quotes=False,
    ),
    item_columns={"item": "item", "title": "title", "categories": "genres"},
    log_file="ratings.dat",
    item_file="movies.dat",
)


def published_log(
    format: str, interactions_path: str, items_path: str | None
) -> tuple[Layout, str, str | None]:
    """The layout and the two files, where the first path may be the published folder.

    Raises:
        UserError: a folder without the log's file.
    """
    layout = LAYOUTS[format]
    folder = epath.Path(interactions_path)
    is_folder = layout.log_file is not None and folder.is_dir()
    if format == "movielens" and (
        _plain_or_gzipped(folder, "ratings.dat")
        if is_folder
        else interactions_path.removesuffix(".gz").endswith(".dat")
    ):
        layout = _MOVIELENS_DAT
    if not is_folder or layout.log_file is None or layout.item_file is None:
        return layout, interactions_path, items_path
    log = _plain_or_gzipped(folder, layout.log_file)
    if log is None:
        raise UserError(f"{interactions_path}: no {layout.log_file} or {layout.log_file}.gz in it")
    return layout, log, items_path or _plain_or_gzipped(folder, layout.item_file)


def _plain_or_gzipped(folder: epath.Path, name: str) -> str | None:
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.exists():
            return str(candidate)
    return None
