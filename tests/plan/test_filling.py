"""What packed rows hold, and which hold as many examples as a plain batch."""

import dataclasses

import numpy as np
import pytest

from recalign.plan.filling import Filling, measured_or_why_not
from recalign.trainer.experiment import load_experiment

LENGTHS = {"inputs": 256, "targets": 64}


def filling(inputs, targets, windows=3):
    size = {"inputs": np.full(2048, inputs), "targets": np.full(2048, targets)}
    return Filling((size,) * windows, LENGTHS)


def test_shares_of_a_row():
    found = filling(64, 8)
    assert found.tokens == {"inputs": 64, "targets": 8}
    assert found.shares == {"inputs": 0.25, "targets": 0.125}


def test_examples_of_equal_size_fill_rows_to_the_brim():
    packed = filling(64, 8).packed(6, LENGTHS)
    assert packed.examples == 6 * 4
    assert packed.places == 6 * (256 + 64)
    # 100 inputs: two in 256 places.
    assert filling(100, 8).packed(6, LENGTHS).examples == 12
    # 60 targets: one in 64 places, however short the inputs.
    assert filling(10, 60).packed(6, LENGTHS).examples == 6


def test_the_fewest_places_that_hold_as_many_examples():
    # Four in a row of 256: four rows hold 16.
    assert filling(64, 8).recommended(16, copies=4).gin() == [
        "PACK = True",
        "BATCH_SIZE = 4",
        "TASK_FEATURE_LENGTHS = {'inputs': 256, 'targets': 64}",
    ]
    # 20 do not fit into four such rows; eight would be 2,560 places, four of 384 (six a row,
    # their 48 targets and 32 more in 96) 1,920.
    packed = filling(64, 8).recommended(20, copies=4)
    assert (packed.rows, packed.lengths) == (4, {"inputs": 384, "targets": 96})
    # A window of 2,048 takes 341 rows of six and one of two.
    assert packed.examples == 4 * 2048 / 342


def test_unpacked_rows_are_no_taller_than_the_longest_example():
    size = {"inputs": np.array([64, 129, 30]), "targets": np.array([8, 3, 33])}
    rows = Filling((size,), LENGTHS).unpacked(12)
    assert (rows.rows, rows.examples, rows.packed) == (12, 12.0, False)
    assert rows.lengths == {"inputs": 256, "targets": 64}
    # Inputs in steps of 128, targets of 32; never above the experiment's own.
    assert filling(64, 8).unpacked(1).lengths == {"inputs": 128, "targets": 32}
    wide = Filling((size,), {"inputs": 200, "targets": 40}).unpacked(1)
    assert wide.lengths == {"inputs": 200, "targets": 40}


def test_room_for_windows_that_need_more():
    """As many rows again as the windows differ by."""
    sizes = tuple(
        {"inputs": np.full(2048, inputs), "targets": np.full(2048, 8)} for inputs in (128, 64)
    )
    # 1,024 and 512 rows: a window gets 1,024 + 512.
    assert Filling(sizes, LENGTHS).packed(3, LENGTHS).examples == pytest.approx(4.0)


def test_the_examples_are_those_of_the_experiments_data_folder(data_dir):
    experiment = load_experiment(
        ["gin/models/tiny.gin", "gin/runs/finetune.gin"],
        [
            "MIXTURE_OR_TASK_NAME = 'ranking_tiny'",
            "TASK_FEATURE_LENGTHS = {'inputs': 256, 'targets': 16}",
            "CANDIDATE_POOL = 6",
            "TRAIN_STEPS = 1",
            "MODEL_DIR = 'unused'",
            f"DATA_DIR = {data_dir!r}",
        ],
    )
    found, unread = measured_or_why_not(experiment)
    assert not unread and found is not None
    assert 0 < found.tokens["targets"] < found.tokens["inputs"] <= 256
    elsewhere = dataclasses.replace(experiment, data_dir="nowhere")
    found, unread = measured_or_why_not(elsewhere)
    assert found is None and "nowhere" in unread
