"""Logs whose columns are known: sequences (`user<TAB>item item …`, a user a line, items in time
order, and `item<TAB>title`); and as published, MovieLens and Amazon's editions."""

import dataclasses
from collections.abc import Iterator, Sequence

from etils import epath

from recalign.data.readers.delimited import Csv, Tsv
from recalign.data.readers.lines import Span, raw_lines, text_lines
from recalign.data.readers.objects import JSON, PYTHON
from recalign.data.readers.tables import Table
from recalign.data.readers.tally import Tally
from recalign.errors import UserError


@dataclasses.dataclass(frozen=True)
class SequenceLines(Table):
    """A user's items, a line; a user's second line continues the first."""

    is_own_form = True

    def column_names(self, path: str) -> list[str]:
        """Those that the layout gives them, of a file that has lines at all."""
        next(raw_lines(path))
        return ["user", "item"]

    def rows(
        self, path: str, names: Sequence[str | None], tally: Tally, span: Span | None = None
    ) -> Iterator[tuple[int, tuple[str | None, ...]]]:
        """(line number, values of the named columns, None for None) of every item."""
        for number, text in text_lines(path, tally, span, self.encodings):
            user, _, items = text.partition("\t")
            sequence = items.split()
            tabs = text.rstrip("\t").count("\t")
            if tabs > 1:
                tally.reject(number, f"{tabs} tabs, not `user<TAB>item item …`", text)
            elif not tabs or not user.strip() or not sequence:
                tally.reject(number, "not `user<TAB>item item …`", text)
            else:
                for item in sequence:
                    values = {"user": user, "item": item}
                    yield number, tuple(values.get(name or "") for name in names)
                # The bad are counted by the line, so are the good.
                tally.accepted -= len(sequence) - 1


@dataclasses.dataclass(frozen=True)
class TitleLines(Table):
    """An item and its title, which may be empty, a line."""

    is_own_form = True

    def column_names(self, path: str) -> list[str]:
        return ["item", "title"]

    def rows(
        self, path: str, names: Sequence[str | None], tally: Tally, span: Span | None = None
    ) -> Iterator[tuple[int, tuple[str | None, ...]]]:
        for number, text in text_lines(path, tally, span, self.encodings):
            item, tab, title = text.partition("\t")
            if tab:
                values = {"item": item, "title": title}
                yield number, tuple(values.get(name or "") for name in names)
            else:
                tally.reject(number, "not `item<TAB>title`", text)


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a published log lies on disk."""

    log_table: Table
    log_columns: dict[str, str]  # role -> column
    item_table: Table
    item_columns: dict[str, str]
    # The files' names inside the published folder, without ".gz", where they are always the same.
    log_file: str | None = None
    item_file: str | None = None


def _columns(pairs: str) -> dict[str, str]:
    """
    >>> _columns("user=userId item=movieId")
    {'user': 'userId', 'item': 'movieId'}
    """
    return dict(pair.split("=") for pair in pairs.split())


_RATINGS = _columns("user=user item=item time=timestamp rating=rating")
_AMAZON = _columns(
    "user=reviewerID item=asin time=unixReviewTime rating=overall review=reviewText summary=summary"
)
_AMAZON_ITEMS = _columns(
    "item=asin title=title brand=brand price=price categories=categories description=description"
)
LAYOUTS = {
    "sequences": Layout(
        SequenceLines(),
        _columns("user=user item=item"),
        TitleLines(),
        _columns("item=item title=title"),
    ),
    "movielens": Layout(
        log_table=Csv(),
        log_columns=_columns("user=userId item=movieId time=timestamp rating=rating"),
        item_table=Csv(),
        item_columns=_columns("item=movieId title=title categories=genres"),
        log_file="ratings.csv",
        item_file="movies.csv",
    ),
    # The metadata of 2014 are Python literals, one a line, although the files are named .json.
    "amazon2014": Layout(JSON, _AMAZON, PYTHON, _AMAZON_ITEMS),
    "amazon2018": Layout(JSON, _AMAZON, JSON, {**_AMAZON_ITEMS, "categories": "category"}),
    # Variants of a product share a parent, which is what the metadata describe.
    "amazon2023": Layout(
        JSON,
        _columns(
            "user=user_id item=parent_asin time=timestamp rating=rating review=text summary=title"
        ),
        JSON,
        {**_AMAZON_ITEMS, "item": "parent_asin", "brand": "store"},
    ),
    # The "ratings only" files of 2014, with the same edition's metadata. (Those of 2018 have the
    # item first; those of 2023 have a header: --format csv.)
    "amazon_ratings": Layout(
        Tsv(names=("user", "item", "rating", "timestamp"), separator=",", quotes=False),
        _RATINGS,
        PYTHON,
        _AMAZON_ITEMS,
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
    """The layout and the two files, where the first path may be the published folder."""
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
