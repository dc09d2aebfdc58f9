"""The law against hand-computed probabilities and against its own draws."""

import dataclasses
import io

import numpy as np
import pytest

from recalign.data.law import Law
from recalign.data.synthetic import CorpusConfig, draw_law, draw_log
from recalign.errors import UserError


@pytest.fixture
def law() -> Law:
    """Two themes of two items; popularity 0.1, 0.2, 0.3, 0.4; the sequel of i is i + 1."""
    return Law(
        raw_ids=np.array(["a", "b", "c", "d"]),
        theme=np.array([0, 0, 1, 1]),
        quality=np.array([0.0, 1.0, -1.0, 0.0]),
        popularity=np.array([0.1, 0.2, 0.3, 0.4]),
        sequel=np.array([1, 2, 3, 0]),
        taste_weight=0.5,
        sequel_weight=0.3,
        popularity_weight=0.2,
        taste_effect=1.0,
    )


def test_first_item_follows_taste_and_popularity(law):
    # taste 0: 0.8 * (1/3, 2/3, 0, 0) + 0.2 * popularity
    expected = [0.8 / 3 + 0.02, 1.6 / 3 + 0.04, 0.06, 0.08]
    np.testing.assert_allclose(law.next_item_given_taste([])[0], expected)


def test_next_item_leaves_out_what_the_user_has(law):
    # taste 1 after b: taste 0.5 * (0, 0, 3/7, 4/7), sequel c 0.3, popularity 0.2 * p; b is out.
    weights = np.array([0.02, 0.0, 0.5 * 3 / 7 + 0.3 + 0.06, 0.5 * 4 / 7 + 0.08])
    np.testing.assert_allclose(law.next_item_given_taste([1])[1], weights / weights.sum())


def test_posterior_is_bayes_rule(law):
    likelihood = np.array([0.8 / 3 + 0.02, 0.02])  # P(a | taste 0), P(a | taste 1)
    np.testing.assert_allclose(law.taste_posterior([0]), likelihood / likelihood.sum())


def test_like_given_history_weighs_likes_of_the_past(law):
    posterior = law.taste_posterior([2, 3])
    disliked_c = 1 - 1 / (1 + np.exp(-np.array([-2.0, 0.0])))
    posterior = posterior * disliked_c / (posterior * disliked_c).sum()
    like_d = 1 / (1 + np.exp(-np.array([-1.0, 1.0])))
    assert law.like_given_history([2], [False], 3) == pytest.approx(posterior @ like_d)


def test_a_reordered_catalogue_has_the_same_law(law):
    other = law.over_catalogue(["d", "b", "a", "c"])
    index = {"a": 2, "b": 1, "c": 3, "d": 0}
    history = [0, 1]
    moved = [index["a"], index["b"]]
    for raw_id, old in zip("abcd", range(4), strict=True):
        assert other.next_item(moved)[index[raw_id]] == pytest.approx(law.next_item(history)[old])
        np.testing.assert_allclose(other.like(index[raw_id]), law.like(old))
    with pytest.raises(ValueError, match="another law"):
        law.over_catalogue(["a", "b", "c"])


def test_bytes_and_back(law):
    again = Law.from_bytes(law.to_bytes())
    for field in dataclasses.fields(Law):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(law, field.name))


_FOUR = np.arange(4)
_NOT_A_LAW = [
    ({"theme": np.array([[0, 0], [1, 1]])}, "theme is int64, [2, 2], for 4 items"),
    ({"theme": np.array(["0", "0", "1", "1"])}, "theme is <U1"),
    ({"theme": np.array([0, 0, 10**9, 1])}, "theme has 3 values from 0 to 1000000000"),
    ({"theme": np.array([-1, 0, 1, 1])}, "theme has 3 values from -1"),
    ({"theme": _FOUR[:3]}, "theme is int64, [3], for 4 items"),
    ({"quality": np.array(["a", "b", "c", "d"])}, "quality is <U1"),
    ({"quality": np.array([0, np.nan, 0, 0])}, "quality is nan"),
    ({"quality": np.array([0, 1e9, 0, 0])}, "quality is 1e+09"),
    ({"popularity": np.array([0.5, np.nan, 0.25, 0.25])}, "popularity is nan"),
    ({"popularity": np.array([0.5, 0.0, 0.25, 0.25])}, "popularity is 0"),
    ({"popularity": np.array([0.5, -0.5, 0.5, 0.5])}, "popularity is -0.5"),
    ({"popularity": np.full(4, 0.5)}, "popularity sums to 2"),
    ({"sequel": np.array([1, 2, 3, -1])}, "sequel is -1"),
    ({"sequel": np.array([1, 2, 3, 4])}, "sequel is 4"),
    ({"sequel": np.array([1.0, 2, 3, 0])}, "sequel is float64"),
    ({"taste_weight": np.array([0.5, 0.3, 0.2])}, "taste_weight is no number but float64, [3]"),
    ({"taste_weight": np.array("x")}, "taste_weight is no number"),
    ({"taste_weight": 5.0}, "taste_weight is 5"),
    ({"sequel_weight": -0.1}, "sequel_weight is -0.1"),
    ({"sequel_weight": 0.1}, "the weights sum to 0.8"),
    ({"popularity_weight": 0.0, "taste_weight": 0.7}, "popularity_weight is 0"),
    ({"taste_effect": np.inf}, "taste_effect is inf"),
    ({"taste_effect": np.nan}, "taste_effect is nan"),
    ({"raw_ids": np.array(["a", "b", "c", "a"])}, "an item stands in raw_ids twice"),
    ({"raw_ids": _FOUR}, "raw_ids is int64"),
    ({"raw_ids": np.array([], "U1")}, "raw_ids is <U1, [0], for 0 items"),
]


@pytest.mark.parametrize(("change", "said"), _NOT_A_LAW)
def test_arrays_that_are_no_law_are_refused(law, change, said):
    with pytest.raises(ValueError) as error:
        Law.from_bytes(dataclasses.replace(law, **change).to_bytes())
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("change", [{"more": _FOUR}, {"theme": None}])
def test_another_set_of_arrays_is_no_law(law, change):
    fields = {k: v for k, v in {**dataclasses.asdict(law), **change}.items() if v is not None}
    buffer = io.BytesIO()
    np.savez(buffer, **fields)
    with pytest.raises(ValueError, match="^it has .* and not "):
        Law.from_bytes(buffer.getvalue())


def test_a_history_that_the_law_cannot_have_drawn_has_no_probability(law):
    with pytest.raises(UserError, match="no history of the law"):
        law.taste_posterior([0, 1, 0])


def test_predicted_hits_equal_drawn_hits():
    """A calibrated predictor's hit ratio is the mean of the probability it puts on its top ten."""
    config = CorpusConfig(users=2000)
    rng = np.random.default_rng(3)
    law = draw_law(config, rng)
    log, items = draw_log(law, config, rng)
    hits, expected, likes, like_probability = [], [], [], []
    for sequence, ratings in zip(
        np.split(log.item, np.flatnonzero(np.diff(log.user)) + 1),
        np.split(log.rating, np.flatnonzero(np.diff(log.user)) + 1),
        strict=True,
    ):
        *history, target = sequence.tolist()
        probabilities = law.next_item(history)
        top = np.argsort(-probabilities)[:10]
        hits.append(target in top)
        expected.append(probabilities[top].sum())
        likes.append(ratings[-1] > 3)
        like_probability.append(
            law.like_given_history(history, (ratings[:-1] > 3).tolist(), target)
        )
    # Three standard errors of a mean of 2000 draws.
    assert np.mean(hits) == pytest.approx(np.mean(expected), abs=3 * 0.5 / np.sqrt(2000))
    assert np.mean(likes) == pytest.approx(np.mean(like_probability), abs=3 * 0.5 / np.sqrt(2000))
    assert len(set(items.titles)) == len(items.titles) == 100
