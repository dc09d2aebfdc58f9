"""Vectors of items: what they say of texts and of transitions."""

import numpy as np
import pytest

from recalign.data.interactions import ItemTable
from recalign.data.item_vectors import token_vectors, transition_vectors
from recalign.data.prepare import prepare
from recalign.errors import UserError
from tests.corpus import log_of, vocabulary_file


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    # Training parts: a b c | b a d | c d a. What follows them is held out.
    sequences = [["a", "b", "c", "d", "e"], ["b", "a", "d", "c", "e"], ["c", "d", "a", "e", "b"]]
    titles = {"a": "red robot", "b": "red robot train", "c": "kite", "d": "puzzle", "e": "kite"}
    return prepare(
        log_of(sequences),
        ItemTable.of_titles(list(titles), list(titles.values())),
        name="few",
        data_dir=tmp_path_factory.mktemp("data"),
        k_core=1,
        item_tokens=True,
        sentencepiece_model=vocabulary_file(),
    )


def by_raw_id(dataset, vectors):
    return dict(zip(dataset.catalogue.raw_ids, vectors, strict=True))


def test_transitions_are_those_of_the_training_parts(dataset):
    vectors = by_raw_id(dataset, transition_vectors(dataset, 4, seed=0))
    # Sums of 1 / distance over both directions: ab 1 + 1, ac 1/2 + 1/2, ad 1 + 1, bc 1, bd 1/2,
    # cd 1; so a has 5, b and c have 3.5 and 3, d has 3.5. Item e is never in a training part.
    totals = np.array([5.0, 3.5, 3.0, 3.5])
    sums = np.array([[0, 2, 1, 2], [2, 0, 1, 0.5], [1, 1, 0, 1], [2, 0.5, 1, 0]])
    normalised = sums / np.sqrt(np.outer(totals, totals))
    found = np.stack([vectors[item] for item in "abcd"])
    # With all dimensions kept, products of the vectors are those of the matrix with itself.
    np.testing.assert_allclose(found @ found.T, normalised @ normalised, atol=1e-9)
    np.testing.assert_allclose(vectors["e"], 0, atol=1e-9)


def test_tokens_have_their_items_vectors(dataset):
    vectors = by_raw_id(dataset, token_vectors(dataset, "text", 8, seed=0))
    for item in "abce":
        assert np.mean(vectors[item] ** 2) == pytest.approx(1)
    np.testing.assert_allclose(vectors["c"], vectors["e"], atol=1e-9)
    near, far = vectors["a"] @ vectors["b"], vectors["a"] @ vectors["c"]
    assert near > far + 1
    unknown = by_raw_id(dataset, token_vectors(dataset, "transitions", 8, seed=0))["e"]
    np.testing.assert_array_equal(unknown, 0)


def test_ids_that_are_spelled_are_refused(data_dir):
    from recalign.data.prepared import open_dataset

    with pytest.raises(UserError, match="'tiny' has no item tokens: .* --item_tokens"):
        token_vectors(open_dataset("tiny", data_dir), "text", 8, seed=0)
