"""Which example goes into which row, and the row that comes of it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recalign.preprocessors.packing import LEFT_OUT, packed_rows, rows_needed, rows_of_examples

CAPACITY = {"inputs": 10, "targets": 4}


def padded(rows, width):
    return np.array([row + [0] * (width - len(row)) for row in rows], np.int32)


def test_the_longest_first_each_where_the_rest_has_its_proportions():
    lengths = {"inputs": np.array([3, 9, 4, 2, 1]), "targets": np.array([1, 1, 1, 4, 1])}
    # Shares of a row: 0.3, 0.9, 0.4, 1.0 (of the targets), 0.25 (of the targets). The last finds
    # room in rows 1 and 2, of which (0.1, 0.75) and (0.3, 0.5) are left; (0.1, 0.25) is more like
    # the second: cosines 0.97 and 0.99.
    np.testing.assert_array_equal(rows_of_examples(lengths, CAPACITY, 3), [2, 1, 2, 0, 2])
    np.testing.assert_array_equal(
        rows_of_examples(lengths, CAPACITY, 2), [LEFT_OUT, 1, LEFT_OUT, 0, 1]
    )


def test_rows_run_out_of_inputs_and_of_targets_together():
    # A long history and three short ones fill the targets of a row: four rows. The first row with
    # room would hold two long ones and nothing else, and the short ones three rows more: five.
    lengths = {"inputs": np.array([2] * 12 + [10] * 4), "targets": np.full(16, 2)}
    assert rows_needed(lengths, {"inputs": 20, "targets": 8}) == 4


def test_a_row_by_hand():
    tokens = {
        "inputs": padded([[7, 8, 1], [5, 1], [9, 1], [6, 6, 6, 1]], 5),
        "targets": padded([[3, 1], [1], [4, 1], [2, 1]], 3),
    }
    row_N = np.array([1, 0, 1, LEFT_OUT])
    packed = packed_rows(tokens, row_N, {"inputs": 6, "targets": 4}, 2)
    expected = {
        "inputs": [[5, 1, 0, 0, 0, 0], [7, 8, 1, 9, 1, 0]],
        "inputs_segment_ids": [[1, 1, 0, 0, 0, 0], [1, 1, 1, 2, 2, 0]],
        "inputs_positions": [[0, 1, 0, 0, 0, 0], [0, 1, 2, 0, 1, 0]],
        "targets": [[1, 0, 0, 0], [3, 1, 4, 1]],
        "targets_segment_ids": [[1, 0, 0, 0], [1, 1, 2, 2]],
        "targets_positions": [[0, 0, 0, 0], [0, 1, 0, 1]],
    }
    assert packed.keys() == expected.keys()
    for name, rows in expected.items():
        np.testing.assert_array_equal(packed[name], rows, err_msg=name)
        assert packed[name].dtype == np.int32


@given(
    st.lists(st.tuples(st.integers(1, 10), st.integers(1, 4)), min_size=1, max_size=30),
    st.integers(1, 8),
)
def test_whole_examples_in_whole_rows(sizes, rows):
    lengths = dict(zip(CAPACITY, np.array(sizes).T, strict=True))
    row_N = rows_of_examples(lengths, CAPACITY, rows)
    assert ((row_N == LEFT_OUT) | ((row_N >= 0) & (row_N < rows))).all()
    for name, capacity in CAPACITY.items():
        fill_R = np.bincount(row_N[row_N >= 0], lengths[name][row_N >= 0], rows)
        assert fill_R.max() <= capacity
        for size in {size for size, row in zip(sizes, row_N, strict=True) if row == LEFT_OUT}:
            # Nobody is left out who would have found room in an untouched row.
            assert (fill_R > 0).all(), size

    tokens = {
        name: padded([[100 * n + j + 2 for j in range(size)] for n, size in enumerate(column)], 10)
        for name, column in lengths.items()
    }
    packed = packed_rows(tokens, row_N, CAPACITY, rows)
    found = {name: set() for name in CAPACITY}
    for name in CAPACITY:
        for row in range(rows):
            ids = packed[f"{name}_segment_ids"][row]
            assert (packed[name][row][ids == 0] == 0).all()
            for segment in range(1, ids.max() + 1):
                (places,) = np.nonzero(ids == segment)
                np.testing.assert_array_equal(np.diff(places), 1)
                np.testing.assert_array_equal(
                    packed[f"{name}_positions"][row][places], np.arange(len(places))
                )
                found[name].add((row, segment, tuple(packed[name][row][places].tolist())))
    # The same segment of a row holds inputs and targets of the same example.
    pairs = zip(*(sorted(found[name]) for name in CAPACITY), strict=True)
    assert [(i[2][0] // 100, t[2][0] // 100) for i, t in pairs] == sorted(
        ((n, n) for n in np.flatnonzero(row_N >= 0)), key=lambda pair: (row_N[pair[0]], pair)
    )
