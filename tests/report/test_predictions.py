import math

import numpy as np
import pytest

from recalign.report.outcomes import gains, measure
from recalign.report.predictions import read_predictions
from tests.report import shop as made


def test_ranks_are_those_that_were_written(shop):
    found = read_predictions(reversed(shop.ranking()))
    assert found.rows.tolist() == list(range(8))
    assert found.outcomes[""].ranks.tolist() == list(made.RANKING)
    assert found.outcomes["candidates"].ranks.tolist() == list(made.POOL_RANKING)
    assert found.pools == tuple(tuple(shop.pool(row)) for row in range(8))


def test_metrics_are_those_that_were_counted_by_hand(shop):
    retrieval = read_predictions(shop.retrieval()).outcomes[""]
    for metric, value in made.RETRIEVAL_FIGURES.items():
        assert measure(retrieval, metric) == pytest.approx(value)
        assert gains(retrieval.ranks, metric).mean() == pytest.approx(value)
    rating = read_predictions(shop.rating()).outcomes[""]
    assert measure(rating, "auc_roc") == pytest.approx(made.AUC)
    assert rating.scores[0] == pytest.approx(math.log(0.9 / 0.1))


def test_white_space_around_an_answer_does_not_make_it_wrong():
    line = {"row": 0, "target": "I7", "beams": ["I1", " I7 "], "log_probs": [-1.0, -2.0]}
    assert read_predictions([line]).outcomes[""].ranks.tolist() == [1.0]


P5 = ("dislike", "like")


def test_likes_and_dislikes_are_p5s_words_for_yes_and_no():
    line = {"row": 0, "target": "like", "label": 1, "beams": ["dislike"], "log_probs": [-0.25]}
    lines = [line, {**line, "row": 1, "beams": ["like", "dislike"], "log_probs": [-1.0, -3.0]}]
    assert read_predictions(lines, P5).outcomes[""].scores.tolist() == [0.0, 2.0]


def test_exact_probabilities_rank_candidates_and_tell_yes_from_no():
    line = {"row": 0, "target": "I2", "beams": ["I7"], "candidates": ["I7", "I2", "I3"]}
    found = read_predictions([{**line, "exact_log_probs": [-1.0, -2.0, -3.0]}])
    assert found.pools == (("I7", "I2", "I3"),)
    assert found.outcomes["exact"].ranks.tolist() == [1.0]
    line = {"row": 0, "target": "no", "label": 0, "beams": ["no"], "log_probs": [-0.5]}
    found = read_predictions([{**line, "exact_log_probs": [-0.5, -1.25]}])
    assert found.outcomes["exact"].scores.tolist() == [-0.75]


def test_samples_mark_the_answer_and_give_probabilities(shop):
    sample = read_predictions(shop.ranking()).samples[2]
    assert (sample.rank, sample.pool_rank) == (2, 1)
    assert [beam.is_target for beam in sample.beams] == [False, True, False, False, False]
    assert sample.beams[0].probability == pytest.approx(0.5)
    assert sample.beams_left_out == 5


def test_an_empty_file_is_nothing():
    assert read_predictions([]) is None


def test_gains_of_a_miss_are_nothing():
    assert gains(np.array([np.inf, 10.0]), "ndcg@10").tolist() == [0.0, 0.0]
