"""Ranks against counts by hand, and files that come back as they were."""

import dataclasses

import numpy as np
import pytest

from recalign.baselines.drivers.exchange import (
    Answer,
    Parts,
    Question,
    answer_items,
    target_ranks,
    validation_ndcg,
)


def question_of(**changes) -> Question:
    """Three users, four items; the last of each user's items is asked for."""
    question = Question(
        model="M",
        settings={"k": 2},
        seed=3,
        epochs=4,
        history_length=5,
        leave_out_seen=False,
        num_items=4,
        train=Parts(np.array([0, 1, 2], np.int32), np.array([0, 1, 2, 3])),
        seen=Parts(np.array([0, 1, 1, 2, 2, 3], np.int32), np.array([0, 2, 4, 6])),
        valid_users=np.array([0]),
        valid_items=np.array([1]),
        test_users=np.array([0, 1, 2]),
        test_items=np.array([2, 3, 0]),
        pool_users=np.array([2, 0]),
        pools=np.array([[0, 1], [3, 2]], np.int32),
        features=Parts(np.array([0], np.int32), np.array([0, 1, 1, 1, 1])),
        train_likes=np.zeros(0, np.int8),
        valid_likes=np.zeros(0, np.int8),
    )
    return dataclasses.replace(question, **changes)


def same(one, other) -> bool:
    """Whether two dataclasses hold the same, arrays by value and type."""
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, Parts):
            equal = same(a, b)
        elif isinstance(a, np.ndarray):
            equal = a.dtype == b.dtype and np.array_equal(a, b)
        else:
            equal = a == b
        if not equal:
            return False
    return True


def test_a_rank_counts_the_higher_and_the_equal_of_lower_index():
    scores = np.array([[0.5, 0.9, 0.5, 0.5, 0.1]] * 3)
    assert target_ranks(scores, np.array([1, 2, 4]), None).tolist() == [0, 2, 4]


def test_seen_items_are_out_of_the_list_and_a_target_never_is():
    scores = np.array([[0.4, 0.3, 0.2, 0.1]] * 2)
    seen = [np.array([0, 2]), np.array([1, 3])]
    assert target_ranks(scores, np.array([3, 3]), seen).tolist() == [1, 2]


def test_a_target_without_a_score_is_an_error():
    with pytest.raises(ValueError, match="no finite number"):
        target_ranks(np.array([[np.nan, 1.0]]), np.array([0]), None)


def test_validation_counts_what_a_user_had_out_of_the_list():
    """User 0 had item 0 and is asked for item 1; user 2 had item 2 and is asked for item 3."""
    question = question_of(valid_users=np.array([0, 2]), valid_items=np.array([1, 3]))
    scores = np.array([[0.4, 0.3, 0.2, 0.1], [0.0] * 4, [0.3, 0.1, 0.4, 0.2]])
    # Ranks 0 and 1.
    expected = (1 + 1 / np.log2(3)) / 2
    for batch_size in (1, 2):
        found = validation_ndcg(question, lambda users: scores[users], batch_size)
        assert found == pytest.approx(expected)


def test_files_come_back_as_they_were(tmp_path):
    question = question_of(train_likes=np.array([1, 0, 1], np.int8))
    question.write(tmp_path)
    assert same(question, Question.read(tmp_path))
    answer = Answer(np.array([1, 2]), np.ones((2, 3)), np.zeros(0), {"version": "1"})
    answer.write(tmp_path)
    assert same(answer, Answer.read(tmp_path))


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_each_user_is_answered_by_their_own_scores(batch_size):
    scores = np.array([[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4], [0.2, 0.1, 0.4, 0.3]])
    question = question_of()
    answer = answer_items(question, lambda users: scores[users], {}, batch_size)
    assert answer.ranks.tolist() == [2, 0, 2]
    assert answer.pool_scores.tolist() == [[0.2, 0.1], [0.1, 0.2]]
    left_out = answer_items(question_of(leave_out_seen=True), lambda users: scores[users], {})
    assert left_out.ranks.tolist() == [0, 0, 0]
