import io

import numpy as np
import pyarrow.parquet as pq
import pytest
from etils import epath

from recalign.data import text
from recalign.data.catalogue import build_catalogue, read_catalogue, write_catalogue
from recalign.data.interactions import ItemTable
from recalign.errors import UserError


def test_items_are_in_index_order_with_clean_texts(small_items):
    catalogue, notes = build_catalogue(["e", "b", "d", "a"], small_items, np.asarray([4, 3, 2, 1]))
    assert catalogue.ids == ("I1", "I2", "I3", "I4")
    assert catalogue.raw_ids == ("e", "b", "d", "a")
    # "e" is in no items file: its raw id. "d" has no title: its brand and category.
    assert catalogue.titles == ("e", "Bat & ball", "Dott Dolls", "Apple")
    assert catalogue.train_counts.tolist() == [4, 3, 2, 1]
    assert catalogue.table["price"].to_pylist() == ["", "", "", "$1.5"]
    assert catalogue.table["categories"].to_pylist()[3] == ["Food", "Fruit"]
    assert notes == [
        "2 of 4 items have no title: named by brand and category, or by raw id",
    ]


def test_ids_are_found_again(small_items):
    catalogue, _ = build_catalogue(["a", "b"], small_items, np.zeros(2, np.int64))
    assert catalogue.index_of("I2") == 1
    with pytest.raises(UserError, match="no item has the id 'I3'.*'I1' to 'I2'"):
        catalogue.index_of("I3")


def test_long_texts_are_cut_and_counted():
    items = ItemTable(["a"], ["word " * 250_000], [""], [""], ["w" * 20_000], [[]])
    catalogue, notes = build_catalogue(["a"], items, np.zeros(1, np.int64))
    assert len(catalogue.titles[0]) <= text.MAXIMUM_TITLE
    assert len(catalogue.table["description"][0].as_py()) == text.MAXIMUM_DESCRIPTION
    assert notes == ["1 titles cut to 1,000 characters", "1 descriptions cut to 10,000 characters"]


def test_a_catalogue_comes_back_as_it_was_written(small_items, tmp_path):
    catalogue, _ = build_catalogue(["a", "d"], small_items, np.asarray([7, 0]))
    write_catalogue(catalogue, epath.Path(tmp_path))
    content = (tmp_path / "items.parquet").read_bytes()
    assert read_catalogue(content, "items.parquet").table.equals(catalogue.table)


@pytest.mark.parametrize("content", [b"", b"PAR1 and nothing else", b"PAR1" * 100])
def test_what_is_no_catalogue_is_one_clear_line(content):
    with pytest.raises(UserError, match="^items.parquet: not a catalogue") as error:
        read_catalogue(content, "items.parquet")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("column", "values", "fault"),
    [
        ("id", ["I1", "I1"], "items share an id"),
        ("raw_id", ["a", "a"], "items share an raw_id"),
        ("id", ["I1", None], "id is missing in 1 of 2 items"),
        ("title", ["x", ""], "a title is empty"),
        ("title", None, "title is missing in 2 of 2 items"),
        ("train_count", [1, -1], "a train_count is negative"),
        ("train_count", ["many", "few"], "not a catalogue"),
    ],
)
def test_what_recalign_never_writes_is_no_catalogue(small_items, column, values, fault):
    catalogue, _ = build_catalogue(["a", "d"], small_items, np.asarray([7, 0]))
    place = catalogue.table.schema.get_field_index(column)
    table = catalogue.table.remove_column(place)
    if values is not None:
        table = table.append_column(column, [values])
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    with pytest.raises(UserError, match=fault):
        read_catalogue(buffer.getvalue(), "items.parquet")


def test_a_log_whose_ids_look_like_the_catalogues_is_noticed(small_items):
    catalogue, _ = build_catalogue(["I2", "x", "I3"], small_items, np.zeros(3, np.int64))
    assert catalogue.ambiguous == ["I2"]  # I3 is the third in both
