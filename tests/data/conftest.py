import gzip
import os
import pathlib

import numpy as np
import pytest

from recalign.data.from_files import prepare_from_files
from recalign.data.interactions import Interactions, ItemTable
from recalign.data.prepare import prepare

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """The folder with the real logs, which are not in the repository."""
    folder = pathlib.Path(os.environ.get("RECALIGN_SHARED", ROOT.parent / "shared" / "data"))
    if not (folder / "amazon").is_dir():
        pytest.skip(f"the real logs are not there ({folder}); set RECALIGN_SHARED")
    return folder


@pytest.fixture(scope="session")
def make_log():
    """Builds a log from (user, item[, time[, rating]]) tuples in the order of a file."""

    def make(rows):
        users = list(dict.fromkeys(row[0] for row in rows))
        items = list(dict.fromkeys(row[1] for row in rows))
        width = len(rows[0])
        return Interactions(
            users,
            items,
            np.asarray([users.index(row[0]) for row in rows], np.int32),
            np.asarray([items.index(row[1]) for row in rows], np.int32),
            np.asarray([row[2] for row in rows], np.float64) if width > 2 else None,
            np.asarray([row[3] for row in rows], np.float32) if width > 3 else None,
        )

    return make


@pytest.fixture(scope="session")
def small_log(make_log):
    """Four users over five items: u1 in an order of time that is not the file's."""
    rows = [
        ("u1", "c", 30, 3.0),
        ("u1", "a", 10, 1.0),
        ("u2", "a", 5, 5.0),
        ("u1", "b", 20, 2.0),
        ("u2", "b", 6, 4.0),
        ("u2", "d", 7, 3.0),
        ("u2", "e", 8, 2.0),
        ("u3", "c", 1, 1.0),
        ("u3", "e", 1, 2.0),
        ("u3", "a", 1, 3.0),
        ("u4", "d", 9, 5.0),
        ("u4", "e", 9, 5.0),
    ]
    return make_log(rows)


@pytest.fixture(scope="session")
def small_items():
    """Titles of four of the five items, one of them in need of cleaning; and one of no user."""
    return ItemTable(
        raw_ids=["a", "b", "c", "d", "zz"],
        titles=["Apple", " Bat &amp;\tball ", "Cat", "", "Zebra"],
        brands=["", "", "", "Dott", ""],
        prices=["$1.5", "", "", "", ""],
        descriptions=["A fruit.", "", "", "", ""],
        categories=[["Food", "Fruit"], [], [], ["Toys", "Dolls"], []],
    )


@pytest.fixture
def prepare_small(small_log, small_items, tmp_path):
    """Prepares the small log, whole unless settings say otherwise."""

    def prepare_it(**settings):
        defaults = {"name": "small", "data_dir": tmp_path, "k_core": 0}
        return prepare(small_log, small_items, **defaults | settings)

    return prepare_it


@pytest.fixture
def prepared(prepare_small):
    return prepare_small()


@pytest.fixture
def prepare_files(tmp_path):
    """Prepares files of a log of one's own, whole unless settings say otherwise."""

    def prepare_it(interactions, **settings):
        defaults = {"data_dir": tmp_path / "data", "k_core": 0}
        return prepare_from_files("mine", interactions=interactions, **defaults | settings)

    return prepare_it


@pytest.fixture
def write(tmp_path):
    """Writes a file of text or bytes, gzipped where its name says so."""

    def write_file(name: str, content: str | bytes) -> str:
        content = content.encode() if isinstance(content, str) else content
        path = tmp_path / name
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return str(path)

    return write_file
