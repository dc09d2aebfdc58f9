"""Which systems are meant."""

import pytest

from recalign.baselines.systems import ITEMS, RATINGS, SYSTEMS, resolve
from recalign.errors import UserError


def test_all_is_what_the_dataset_has_something_for():
    everything = resolve(["all"], (*ITEMS, *RATINGS), True, "demo")
    assert everything == list(SYSTEMS)
    without = resolve(["all"], ITEMS, False, "toys")
    assert set(everything) - set(without) == {"optimum", "history", "dmf", "widedeep"}


def test_a_name_counts_once_and_order_stays():
    assert resolve(["sasrec", "popularity", "sasrec"], ITEMS, False, "toys") == [
        "sasrec",
        "popularity",
    ]


def test_without_names_what_needs_no_training_and_no_environment():
    assert resolve([], (*ITEMS, *RATINGS), True, "demo") == [
        "popularity", "optimum", "graph", "knn", "history"]  # fmt: skip
    assert resolve([], ITEMS, False, "toys") == ["popularity", "graph", "knn"]
    chosen = [SYSTEMS[name] for name in resolve([], (*ITEMS, *RATINGS), True, "demo")]
    assert {system.library for system in chosen} == {"recalign"}
    assert {system.epochs for system in chosen} == {0}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("sasreq", "unknown model 'sasreq': known are popularity, .*widedeep, and all"),
        ("history", "history predicts ratings, which toys does not have"),
        ("optimum", "optimum is known of synthetic corpora alone"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(name, told):
    with pytest.raises(UserError, match=told):
        resolve([name], ITEMS, False, "toys")
