"""The sentence of a review that explains it, and the word that it turns on."""

import pyarrow as pa

from recalign.data.explanations import explained_places, explanations
from recalign.data.records import UserReviews


def texts(*values):
    return pa.array(values, pa.large_string())


def test_the_feature_is_the_word_that_most_reviews_share_but_not_nearly_all(monkeypatch):
    # "this" is in all four written reviews, "quality" in three of them.
    monkeypatch.setattr("recalign.data.explanations.COMMON", 0.8)
    found = explanations(
        texts(
            "This one. Bad quality!", "This is Good quality", "", "This? A quality toy. No", "This"
        )
    )
    assert found.places.tolist() == [0, 1, 3]
    assert found.sentences.to_pylist() == ["Bad quality!", "This is Good quality", "A quality toy."]
    assert found.features.to_pylist() == ["quality"] * 3


def test_letters_of_any_script_make_words():
    found = explanations(texts("1234 5678. Schöne Größe!", "!!!"))
    assert found.places.tolist() == [0]
    assert found.features.to_pylist() == ["schöne"]


def test_headlines_count_only_where_there_are_any():
    reviews = UserReviews(texts("good kite", "", "nice kite"), texts("", "x", "y"))
    assert explained_places(reviews)[0].tolist() == [2]
    assert explained_places(UserReviews(reviews.texts, texts("", "", "")))[0].tolist() == [0, 2]


def test_nothing_comes_of_nothing():
    assert not len(explanations(texts()).places)
    assert not len(explanations(texts("", "")).places)
