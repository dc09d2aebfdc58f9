"""Windows against a worked example, and against what a split may know."""

import numpy as np
import pytest
import tensorflow as tf

from recalign.preprocessors.draws import Draws
from recalign.preprocessors.windows import ABSENT, WindowLookup
from tests.corpus import make_corpus

# Training parts: a b c d (user 0), f g (user 1), a g f e d (user 2).
SEQUENCES = ["abcdef", "fgab", "agfedcb"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    ratings = [[5, 4, 3, 2, 1, 5], [1, 2, 3, 4], [1, 2, 3, 4, 5, 1, 2]]
    return make_corpus(
        "letters", tmp_path_factory.mktemp("data"), sequences=SEQUENCES, ratings=ratings
    )


def windows_of(dataset, task, split, w, seed=0, every_prefix=False):
    lookup = WindowLookup(task, dataset, split, w, every_prefix)
    samples = tf.range(len(lookup), dtype=tf.int64)
    return lookup(samples, Draws(seed, samples))


def letters(dataset, items):
    raw = dataset.catalogue.raw_ids
    return "".join(raw[i] for i in items if i != ABSENT)


def histories(dataset, windows):
    return [letters(dataset, row) for row in windows.history_BxW.numpy()]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_every_prefix_is_tigers_samples(dataset, split):
    expected = windows_of(dataset, "tiger", split, 2)
    found = windows_of(dataset, "retrieval", split, 2, every_prefix=True)
    np.testing.assert_array_equal(found.history_BxW, expected.history_BxW)
    np.testing.assert_array_equal(found.next_item_B, expected.next_item_B)


@pytest.mark.parametrize(
    ("task", "split", "w", "expected"),
    [
        ("retrieval", "train", 2, ["ab>c", "bc>d", "f>g", "ag>f", "gf>e", "fe>d"]),
        ("retrieval", "train", 20, ["abc>d", "f>g", "agfe>d"]),
        ("bpr", "train", 3, ["abc>d", "f>g", "agf>e", "gfe>d"]),
        ("ranking", "validation", 2, ["cd>e", "fg>a", "ed>c"]),
        ("retrieval", "test", 3, ["cde>f", "fga>b", "edc>b"]),
        ("tiger", "train", 2, ["a>b", "ab>c", "bc>d", "f>g", "a>g", "ag>f", "gf>e", "fe>d"]),
        ("tiger", "test", 2, ["de>f", "ga>b", "dc>b"]),
        ("mim", "train", 2, ["ab", "bc", "cd", "fg", "ag", "gf", "fe", "ed"]),
        ("mim", "train", 20, ["abcd", "fg", "agfed"]),
    ],
)
def test_windows_of_a_worked_example(dataset, task, split, w, expected):
    windows = windows_of(dataset, task, split, w)
    shown = histories(dataset, windows)
    if windows.target_B is not None:
        targets = letters(dataset, windows.target_B.numpy())
        shown = [f"{history}>{target}" for history, target in zip(shown, targets, strict=True)]
    assert shown == expected


def test_ratings_stay_beside_their_items(dataset):
    windows = windows_of(dataset, "rating", "train", 2)
    assert windows.target_rating_B.numpy().tolist() == [3, 2, 2, 3, 4, 5]
    assert windows.history_rating_BxW.numpy()[1].tolist() == [4, 3]


def test_rows_are_the_datasets_users(dataset):
    assert windows_of(dataset, "mim", "train", 3).row_B.numpy().tolist() == [0, 0, 1, 2, 2, 2]


def test_sub_sequences_are_contiguous_parts_of_2_to_w_items(dataset):
    seen = set()
    for seed in range(200):
        windows = windows_of(dataset, "mlm", "train", 3, seed)
        shown = histories(dataset, windows)
        for text, part in zip(
            shown, ["abcd", "abcd", "fg", "agfed", "agfed", "agfed"], strict=True
        ):
            assert 2 <= len(text) <= 3
            assert text in part
        seen.update(shown[:2])
    assert seen == {"ab", "bc", "cd", "abc", "bcd"}


def test_training_windows_show_nothing_that_is_held_out(corpus):
    sequences = corpus.sequences("train")
    held_out = [
        set(sequences.unseen[a:b])
        for a, b in zip(sequences.unseen_splits[:-1], sequences.unseen_splits[1:], strict=True)
    ]
    for task in ("retrieval", "rating", "bpr", "mim", "mlm"):
        windows = windows_of(corpus, task, "train", 5)
        for number, row in enumerate(windows.row_B.numpy()):
            shown = set(windows.history_BxW.numpy()[number])
            if windows.target_B is not None:
                shown.add(windows.target_B.numpy()[number])
            assert not shown & held_out[row], task


def test_held_out_windows_end_before_the_last_item(corpus):
    test = corpus.sequences("test")
    windows = windows_of(corpus, "retrieval", "test", 5)
    last = test.items[test.row_splits[1:] - 1]
    assert np.array_equal(windows.target_B, last)
