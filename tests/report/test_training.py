import pytest

from recalign.report.run import read_run
from recalign.report.training import baselines_table, cost, cost_table, duration, setup_of
from tests.report.shop import write_run


def test_how_to_run_a_row_again(shop, run_directory, tmp_path):
    other = write_run(tmp_path / "other", shop, seed=1)
    setup = setup_of("UT", [read_run(run_directory), read_run(other)])
    facts = dict(setup.facts)
    assert facts["directory"] == ("ut", "other")
    assert facts["versions"] == ("jax 9.9.9",)
    assert facts["device"] == ("4 × TPU v9",)
    assert facts["seed"] == ("0", "1")
    assert facts["again"][0] == (
        "recalign train --gin_file=ut/config.gin --gin.MODEL_DIR=\"'runs/again'\""
    )
    assert "RANDOM_SEED = 0" in setup.text


def test_how_the_baselines_were_made():
    table = baselines_table(
        [
            ("SASRec", {"library": "RecBole", "version": "1.2.1", "settings": {"epochs": 20}}),
            ("Popularity", {"library": "recalign"}),
        ]
    )
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["SASRec", "RecBole", "1.2.1", "epochs = 20"],
        ["Popularity", "recalign", "—", "—"],
    ]
    assert baselines_table([]) is None


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
