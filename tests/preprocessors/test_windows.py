"""Windows against a worked example, and against what a split may know."""

import numpy as np
import pytest
import tensorflow as tf

from recalign.preprocessors.preprocessor import Context
from recalign.preprocessors.ratings import answered, label, likes
from recalign.preprocessors.settings import TaskSettings
from recalign.preprocessors.windows import ABSENT
from tasks.blocks import TASKS
from tests.corpus import make_corpus

# Training parts: a b c d (user 0), f g (user 1), a g f e d (user 2).
SEQUENCES = ["abcdef", "fgab", "agfedcb"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    ratings = [[5, 4, 3, 2, 1, 5], [1, 2, 3, 4], [1, 2, 3, 4, 5, 1, 2]]
    return make_corpus(
        "letters", tmp_path_factory.mktemp("data"), sequences=SEQUENCES, ratings=ratings
    )


def context_of(dataset, split, w, seed=0, every_prefix=False):
    settings = TaskSettings(history_length=w, every_prefix=every_prefix)
    return Context("any", dataset, split, settings, seed)


def windows_of(dataset, task, split, w, seed=0, every_prefix=False, then=()):
    """What a task's first preprocessor, and others after it, make of all samples."""
    context = context_of(dataset, split, w, seed, every_prefix)
    lookup = TASKS[task]["preprocessors"][0].bind(context)
    samples = tf.range(lookup.size, dtype=tf.int64)
    batch = lookup({"sample": samples, "position": samples})
    for step in then:
        batch = step.bind(context)(batch)
    return {name: value.numpy() for name, value in batch.items()}


def letters(dataset, items):
    raw = dataset.catalogue.raw_ids
    return "".join(raw[i] for i in items if i != ABSENT)


def histories(dataset, windows):
    return [letters(dataset, row) for row in windows["history"]]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_every_prefix_is_tigers_samples(dataset, split):
    expected = windows_of(dataset, "tiger", split, 2)
    found = windows_of(dataset, "retrieval", split, 2, every_prefix=True)
    np.testing.assert_array_equal(found["history"], expected["history"])
    np.testing.assert_array_equal(found["target"], expected["target"])


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
    if "target" in windows:
        targets = letters(dataset, windows["target"])
        shown = [f"{history}>{target}" for history, target in zip(shown, targets, strict=True)]
    assert shown == expected


def test_ratings_stay_beside_their_items(dataset):
    windows = windows_of(dataset, "rating", "train", 2, then=[likes(), label()])
    # The ratings of the targets are 3, 2, 2, 3, 4 and 5; above 3 is a like.
    assert windows["label"].tolist() == [0, 0, 0, 0, 1, 1]
    # The history of the second window, b and c, was rated 4 and 3.
    assert letters(dataset, windows["liked"][1]) == "b"
    assert letters(dataset, windows["disliked"][1]) == "c"


def test_answers_stay_beside_their_items(dataset):
    windows = windows_of(dataset, "rating", "train", 2, then=[answered(), label()])
    texts = answered().makes["answered"].forms[""].texts_of(dataset)
    said = [[texts[number] for number in row if number >= 0] for row in windows["answered"]]
    ids = dict(zip(dataset.catalogue.raw_ids, dataset.catalogue.ids, strict=True))
    # The history of the second window was rated 4 and 3.
    assert said[1] == [f"{ids['b']} yes", f"{ids['c']} no"]
    assert [len(row) for row in said] == (windows["history"] >= 0).sum(axis=1).tolist()


def test_rows_are_the_datasets_users(dataset):
    assert windows_of(dataset, "mim", "train", 3)["row"].tolist() == [0, 0, 1, 2, 2, 2]


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
        for number, row in enumerate(windows["row"]):
            shown = set(windows["history"][number])
            if "target" in windows:
                shown.add(windows["target"][number])
            assert not shown & held_out[row], task


def test_held_out_windows_end_before_the_last_item(corpus):
    test = corpus.sequences("test")
    windows = windows_of(corpus, "retrieval", "test", 5)
    last = test.items[test.row_splits[1:] - 1]
    assert np.array_equal(windows["target"], last)
