import numpy as np

from recalign.data import splits
from recalign.data.splits import Sequences, split_rows, train_counts


def test_popularity_knows_no_held_out_item():
    sequences = Sequences(
        users=["u", "v"],
        items=np.asarray([0, 1, 2, 3, 0, 4, 1], np.int32),
        ratings=None,
        row_splits=np.asarray([0, 4, 7]),
    )
    # Training parts: u [0, 1], v [0].
    assert train_counts(sequences, 6).tolist() == [2, 1, 0, 0, 0, 0]
    assert sequences.lengths.tolist() == [4, 3]


def test_train_and_test_hold_every_row():
    assert split_rows("train", 4, seed=0).tolist() == [0, 1, 2, 3]
    assert split_rows("test", 4, seed=0).tolist() == [0, 1, 2, 3]
    assert split_rows("validation", 4, seed=0).tolist() == [0, 1, 2, 3]


def test_validation_is_a_sample_fixed_by_the_seed():
    rows = split_rows("validation", 10_000, seed=0)
    assert len(rows) == len(set(rows.tolist())) == splits.VALIDATION_USERS == 3000
    assert (np.diff(rows) > 0).all()
    assert (split_rows("validation", 10_000, seed=0) == rows).all()
    assert (split_rows("validation", 10_000, seed=1) != rows).any()
    # A fair sample has its mean near the middle: within five standard errors.
    assert abs(rows.mean() - 4999.5) < 5 * 10_000 / np.sqrt(12 * 3000)
