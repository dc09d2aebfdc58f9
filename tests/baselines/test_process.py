"""A driver's answer is read and checked; a stand-in for a library writes it."""

import sys

import numpy as np
import pytest

from recalign.baselines import process
from recalign.errors import UserError
from tests.baselines.drivers.test_exchange import question_of

STAND_IN = """
import pathlib, sys
sys.path.insert(0, {drivers!r})
from exchange import Answer, Question
import numpy as np
folder = pathlib.Path(sys.argv[-1])
question = Question.read(folder)
assert "recalign" not in sys.modules
print("epoch 1 of", question.epochs)
{rest}
"""


def driver(tmp_path, rest: str) -> list[str]:
    program = tmp_path / "driver.py"
    drivers = str(process.driver_of("RecBole").parent)
    program.write_text(STAND_IN.format(drivers=drivers, rest=rest))
    return [sys.executable, str(program)]


ANSWER = "Answer({ranks}, question.pools * {factor}, np.zeros(0), {{'version': '7'}}).write(folder)"


def test_the_answer_comes_back_and_lines_are_passed_on(tmp_path):
    lines = []
    command = driver(tmp_path, ANSWER.format(ranks="np.array([1, 0, 3])", factor="0.5"))
    answer = process.ask(question_of(), command, lines.append)
    assert answer.ranks.tolist() == [1, 0, 3]
    np.testing.assert_array_equal(answer.pool_scores, question_of().pools * 0.5)
    assert answer.about == {"version": "7"}
    assert lines == ["  epoch 1 of 4"]


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        ("raise RuntimeError('no memory')", "M: its process ended with 1: RuntimeError: no memory"),
        ("", "M: no usable answer"),
        (ANSWER.format(ranks="np.array([1, 0])", factor=1), r"ranks of shape \(2,\), not \(3,\)"),
        (ANSWER.format(ranks="np.array([1, 0, 4])", factor=1), "ranks that no item can have"),
        (ANSWER.format(ranks="np.array([1, 0, 3])", factor="np.nan"), "scores that are no numbers"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, rest, told):
    with pytest.raises(UserError, match=told):
        process.ask(question_of(), driver(tmp_path, rest), lambda line: None)


def test_a_model_of_ratings_answers_with_scores(tmp_path):
    rated = question_of(train_likes=np.array([1, 0, 1], np.int8))
    rest = "Answer(np.zeros(0), np.zeros(0), np.array([.1, .2, .3]), {}).write(folder)"
    assert process.ask(rated, driver(tmp_path, rest), lambda line: None).scores.tolist() == [
        0.1,
        0.2,
        0.3,
    ]
