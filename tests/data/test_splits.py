import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recalign.data import splits
from recalign.data.splits import Sequences, samples_per_user, split_rows, train_counts
from recalign.errors import UserError


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


def count(task, length, split="train", history_length=3, every_prefix=False):
    lengths = np.asarray([length])
    return samples_per_user(task, lengths, split, history_length, every_prefix).tolist()[0]


@pytest.mark.parametrize("task", ["retrieval", "ranking", "rating", "bpr"])
def test_a_window_and_the_item_after_it(task):
    # Of 5 items with windows of 3: 0 1 2 -> 3 and 1 2 3 -> 4.
    assert [count(task, length) for length in range(7)] == [0, 0, 1, 1, 1, 2, 3]


def test_every_item_but_the_first():
    assert [count("tiger", length) for length in range(6)] == [0, 0, 1, 2, 3, 4]


@pytest.mark.parametrize("task", ["retrieval", "ranking", "rating", "bpr", "p5_sequential"])
def test_every_prefix_of_the_next_item_tasks_where_it_is_asked_for(task):
    assert [count(task, n, every_prefix=True) for n in range(6)] == [0, 0, 1, 2, 3, 4]
    assert count(task, 9, "test", every_prefix=True) == count(task, 9, "test")
    assert count("mim", 5, every_prefix=True) == count("mim", 5)


def test_windows_of_items():
    # Of 5 items with windows of 3: 0 1 2, 1 2 3 and 2 3 4.
    assert [count("mim", length) for length in range(7)] == [0, 1, 1, 1, 2, 3, 4]
    assert [count("mlm", length) for length in range(7)] == [0, 0, 1, 1, 2, 3, 4]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_evaluation_asks_every_user_once_and_only_to_recommend(split):
    for task in ("retrieval", "ranking", "rating", "tiger"):
        assert count(task, 9, split) == 1
    for task in ("mim", "mlm", "bpr"):
        assert count(task, 9, split) == 0


@given(st.integers(0, 60), st.integers(1, 25))
def test_any_count_is_that_of_enumerated_windows(length, window):
    items = list(range(length))
    pairs = {(tuple(items[max(0, e - window) : e]), items[e]) for e in range(window, length)}
    if 2 <= length <= window:
        pairs = {(tuple(items[:-1]), items[-1])}
    assert count("retrieval", length, history_length=window) == len(pairs)
    windows = {tuple(items[s : s + window]) for s in range(max(1, length - window + 1))} - {()}
    assert count("mim", length, history_length=window) == len(windows)


def test_what_cannot_be_counted():
    with pytest.raises(UserError, match="history_length 0"):
        count("retrieval", 5, history_length=0)
    with pytest.raises(KeyError):
        count("retrival", 5)
    with pytest.raises(KeyError):
        count("retrieval", 5, "dev")
