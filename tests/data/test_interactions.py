import numpy as np
import pytest

from recalign.data.interactions import Interactions, ItemTable


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="item has 1 values, user has 2"):
        Interactions(["u"], ["i"], np.zeros(2, np.int32), np.zeros(1, np.int32))
    with pytest.raises(ValueError, match="titles has 0 values, raw_ids has 1"):
        ItemTable(["i"], [], [""], [""], [""], [[]])


def test_a_table_of_titles_knows_nothing_else():
    table = ItemTable.of_titles(["i", "j"], ["one", "two"])
    assert len(table) == 2
    assert table.titles == ["one", "two"]
    assert table.brands == ["", ""]
    assert table.categories == [[], []]
