import pytest

from recalign.report.cost import cost, cost_table, duration
from recalign.report.run import read_run


def test_what_a_run_cost(run_directory):
    found = cost(read_run(run_directory))
    # 40 steps of 7 examples in 4 rows at 2 steps a second, 16 seconds of validation, 4 devices.
    assert (found.steps, found.examples_per_second) == (40, 14.0)
    assert (found.training_seconds, found.validation_seconds) == (20.0, 16.0)
    assert found.device_hours == pytest.approx(36 * 4 / 3600)
    table = cost_table([("UT", read_run(run_directory))], [("sasrec", {"seconds": 3725.2})])
    assert [cell.text for cell in table.rows[0]] == [
        "UT", "40", "14.0", "0 min 20 s", "0 min 16 s", "4 × TPU v9", "0.04",
    ]  # fmt: skip
    assert [cell.text for cell in table.rows[1]] == ["sasrec", "—", "—", "1 h 2 min", *["—"] * 3]


def test_a_run_without_lines_costs_nothing_that_is_known(run_directory):
    (run_directory / "metrics.jsonl").unlink()
    run = read_run(run_directory)
    assert cost(run).device_hours is None
    assert cost_table([("UT", run)], []) is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(3725.2, "1 h 2 min"), (125, "2 min 5 s"), (0.4, "0 min 0 s")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text
