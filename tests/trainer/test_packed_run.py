"""A run on packed rows, stopped and gone on with, ends as the undisturbed one."""

import dataclasses
import json

import jax
import numpy as np

from recalign.trainer.checkpoints import Checkpoints
from recalign.trainer.loop import train
from recalign.trainer.optimization import optimizer_of
from recalign.trainer.partitioning import make_mesh
from recalign.trainer.state import state_shape

from .conftest import TWO_TASKS, without_times

STEPS, FIRST = 6, 4


def end_of(experiment):
    shape = state_shape(experiment.config, optimizer_of(experiment, 0), make_mesh())
    saved = Checkpoints(experiment.directory, read_only=True).restore_latest(shape)
    lines = (experiment.directory / "metrics.jsonl").read_text().splitlines()
    return saved.state, without_times(map(json.loads, lines))


def test_goes_on_to_the_same_end(experiment, tmp_path, capsys):
    macros = {
        **TWO_TASKS,
        "PACK": True,
        "TASK_FEATURE_LENGTHS": {"inputs": 192, "targets": 48},
        "EVAL_PERIOD": 0,
        "TEST_SPLIT": None,
        "LOG_PERIOD": 2,
    }
    whole = experiment(TRAIN_STEPS=STEPS, MODEL_DIR=str(tmp_path / "whole"), **macros)
    train(whole)
    said = capsys.readouterr().err
    assert "packed: a step's 8 rows hold " in said
    parts = experiment(TRAIN_STEPS=FIRST, MODEL_DIR=str(tmp_path / "parts"), **macros)
    train(parts)
    parts = dataclasses.replace(parts, train_steps=STEPS)
    train(parts)
    (state, lines), (expected_state, expected_lines) = end_of(parts), end_of(whole)
    jax.tree.map(np.testing.assert_array_equal, state, expected_state)
    assert lines == expected_lines
    # More examples than rows, and counted.
    assert sum(lines[-1]["examples"].values()) > 1.5 * 8 * STEPS
    assert [line["step"] for line in lines] == [2, 4, 6]
