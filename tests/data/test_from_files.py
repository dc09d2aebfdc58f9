import gzip
import json

import pytest

from recalign.data import from_files
from recalign.data.from_files import prepare_from_files
from recalign.errors import UserError

REVIEWS = "".join(
    json.dumps(
        {
            "reviewerID": f"U{user}",
            "asin": f"B{item}",
            "overall": 4.0,
            "unixReviewTime": 1_400_000_000 + item,
        }
    )
    + "\n"
    for user in range(5)
    for item in range(6)
)
METADATA = "".join(f"{{'asin': 'B{item}', 'title': 'Toy {item}'}}\n" for item in range(6))


def test_a_log_of_ones_own(write, tmp_path, prepare_files):
    dataset, lines = prepare_files(write("log.csv", "user,item\nu,a\nu,b\nu,c\n"))
    assert dataset.info["sources"] == [
        {"path": str(tmp_path / "log.csv"), "lines": 3, "bad_lines": 0}
    ]
    assert any("columns, guessed from their names: user = user" in line for line in lines)
    assert any("no items file" in line for line in lines)


def test_local_copies_of_a_known_log_and_a_warning_that_it_is_not_the_papers(write, tmp_path):
    dataset, lines = prepare_from_files(
        "toys",
        data_dir=tmp_path / "data",
        interactions=write("reviews_Toys_and_Games_5.json.gz", REVIEWS),
        items=write("meta_Toys_and_Games.json.gz", METADATA),
    )
    assert sorted(dataset.catalogue.titles) == [f"Toy {item}" for item in range(6)]
    assert lines[-1] == (
        "warning: not the paper's log: users 5 instead of 19,412, items 6 instead of 11,924,"
        " interactions 30 instead of 167,597"
    )


def test_a_known_log_is_downloaded_beside_the_data(tmp_path, monkeypatch):
    asked = []

    def download(url, path):
        asked.append(url)
        name = url.rpartition("/")[2]
        assert str(path) == str(tmp_path / "data" / "downloads" / name)
        (tmp_path / name).write_bytes(
            gzip.compress((REVIEWS if name.startswith("reviews") else METADATA).encode())
        )
        return tmp_path / name

    monkeypatch.setattr(from_files, "download", download)
    dataset, _ = prepare_from_files("beauty", data_dir=tmp_path / "data")
    assert dataset.info["users"] == 5
    assert [url.rpartition("/")[2] for url in asked] == [
        "reviews_Beauty_5.json.gz",
        "meta_Beauty.json.gz",
    ]
    assert all(url.startswith("https://snap.stanford.edu/") for url in asked)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "mine"}, "no log is known by the name 'mine'.*give --format and --interactions"),
        ({"name": "mine", "items": "i.csv"}, "--items without --interactions"),
        ({"name": "mine", "interactions": "log.dat"}, "log.dat: say its --format: sequences, csv"),
        ({"name": "my-own", "interactions": "log.csv"}, "dataset name 'my-own'"),
        ({"name": "mine", "interactions": "log.csv", "item_ids": "radom"}, "none of random"),
    ],
)
def test_what_is_refused_before_anything_is_read(tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        prepare_from_files(**{"data_dir": tmp_path, **arguments})
    assert list(tmp_path.iterdir()) == []
