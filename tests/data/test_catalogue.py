import numpy as np
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
    assert read_catalogue(epath.Path(tmp_path)).table.equals(catalogue.table)


@pytest.mark.parametrize("content", [None, b"", b"PAR1 and nothing else"])
def test_a_damaged_catalogue_is_one_clear_line(tmp_path, content):
    if content is not None:
        (tmp_path / "items.parquet").write_bytes(content)
    with pytest.raises(UserError, match="items.parquet: not a catalogue") as error:
        read_catalogue(epath.Path(tmp_path))
    assert "\n" not in str(error.value)
