"""Rates as they are, whatever lies between the steps."""

import pytest

from recalign.trainer.progress import Countdown, Pace, Rates, progress_line


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_neither_compilation_nor_pauses_count():
    clock = Clock()
    pace = Pace(10, clock)
    assert pace.rates is None
    clock.now += 60  # compiles
    pace.step_ended(tokens=500)
    assert pace.rates is None
    for _ in range(4):
        clock.now += 0.5
        pace.step_ended(tokens=300)
    assert pace.rates == pytest.approx((2.0, 600.0))
    with pace.pause():
        clock.now += 30
    clock.now += 0.5
    pace.step_ended(tokens=300)
    assert pace.rates == pytest.approx((2.0, 600.0))


def test_the_last_line_speaks_of_a_window_though_only_a_step_came_after_the_one_before():
    clock = Clock()
    pace = Pace(4, clock)
    for _ in range(8):
        clock.now += 1.0
        pace.step_ended(tokens=10)
    clock.now += 1e-6  # the last step had ended when the one before was looked at
    pace.step_ended(tokens=10)
    assert pace.rates == pytest.approx((4 / 3, 40 / 3), rel=1e-5)


def test_a_line_says_the_step_the_rates_and_what_is_to_go():
    # 1,800 steps at 12.5 a second are 144 s; 7,322 at 2 a second 3,661.
    assert progress_line(1200, 3000, 2.34567, Rates(12.5, 45678.9)) == (
        "step 1,200 of 3,000 | loss 2.3457 | 12.5 steps/s | 45,679 tokens/s | 0:02:24 to go"
    )
    assert progress_line(2678, 10_000, 2.0, Rates(2.0, 600.0)).endswith("| 1:01:01 to go")
    # After one step there is no rate, and nothing to foretell.
    assert progress_line(1, 3000, 10.0, None) == "step 1 of 3,000 | loss 10.0000"


def test_what_is_to_go_does_not_count_compilation():
    clock = Clock()
    pace = Pace(10, clock)
    clock.now += 300  # compiles
    for _ in range(3):
        clock.now += 0.5
        pace.step_ended(tokens=300)
    assert progress_line(3, 123, 1.0, pace.rates) == (
        "step 3 of 123 | loss 1.0000 | 2 steps/s | 600 tokens/s | 0:01:00 to go"
    )


def test_the_last_line_of_a_run_has_the_windows_rates_and_nothing_to_go():
    clock = Clock()
    pace = Pace(4, clock)
    for _ in range(9):
        clock.now += 0.5
        pace.step_ended(tokens=1000)
    assert progress_line(9, 9, 0.25, pace.rates) == (
        "step 9 of 9 | loss 0.2500 | 2 steps/s | 2,000 tokens/s"
    )


def test_an_evaluations_lines_count_from_the_end_of_the_first_batch():
    clock = Clock()
    countdown = Countdown(2000, clock)
    clock.now += 60  # compiles
    assert countdown.line(100) is None
    clock.now += 5
    # 100 examples in 5 s; a minute since the last line, of which there was none.
    assert countdown.line(200) == "200 of 2,000 examples | 20 examples/s | 0:01:30 to go"
    clock.now += 10
    assert countdown.line(400) is None, "ten seconds have not gone by"
    clock.now += 5
    # 800 since the first batch, in 20 s.
    assert countdown.line(900) == "900 of 2,000 examples | 40 examples/s | 0:00:28 to go"
    clock.now += 20
    assert countdown.line(2000) == "2,000 of 2,000 examples | 47.5 examples/s"


def test_an_evaluation_that_goes_on_does_not_count_what_was_there():
    clock = Clock()
    countdown = Countdown(1000, clock)
    clock.now += 30
    assert countdown.line(800) is None
    clock.now += 10
    assert countdown.line(850) == "850 of 1,000 examples | 5 examples/s | 0:00:30 to go"
