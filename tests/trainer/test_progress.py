"""Rates as they are, whatever lies between the steps."""

import pytest

from recalign.trainer.progress import Pace


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
