"""A run on packed rows that goes on from a checkpoint ends as the undisturbed one."""

import json
import shutil

import jax
import numpy as np
import pytest

from recalign.preprocessors.packed_stream import PackedStream
from recalign.trainer.checkpoints import FOLDER, Checkpoints
from recalign.trainer.loop import train
from recalign.trainer.optimization import optimizer_of
from recalign.trainer.partitioning import make_mesh
from recalign.trainer.state import state_shape

from .conftest import TWO_TASKS, without_times

STEPS, FIRST = 6, 4


def end_of(experiment):
    shape = state_shape(experiment.network, optimizer_of(experiment, 0), make_mesh())
    saved = Checkpoints(experiment.directory, read_only=True).restore_latest(shape)
    lines = (experiment.directory / "metrics.jsonl").read_text().splitlines()
    return saved, without_times(map(json.loads, lines))


MACROS = {
    **TWO_TASKS,
    "PACK": True,
    "TASK_FEATURE_LENGTHS": {"inputs": 192, "targets": 48},
    "EVAL_PERIOD": 0,
    "TEST_SPLIT": None,
}


@pytest.mark.slow
def test_what_finds_no_room_is_said(experiment, capsys, monkeypatch):
    rows_of = PackedStream.rows_of
    monkeypatch.setattr(PackedStream, "rows_of", lambda needed: rows_of(needed) // 16 * 8)
    train(experiment(TRAIN_STEPS=1, **MACROS))
    assert capsys.readouterr().err.count(" have no room in its ") == 1


@pytest.mark.slow
def test_goes_on_to_the_same_end(experiment, tmp_path, capsys):
    macros = {
        **MACROS,
        "CHECKPOINT_PERIOD": FIRST,
        "LOG_PERIOD": 3,  # the checkpoint is between two lines
    }
    whole = experiment(TRAIN_STEPS=STEPS, MODEL_DIR=str(tmp_path / "whole"), **macros)
    train(whole)
    assert "packed: a step's 8 rows hold " in capsys.readouterr().err
    parts = experiment(TRAIN_STEPS=STEPS, MODEL_DIR=str(tmp_path / "parts"), **macros)
    shutil.copytree(whole.directory, parts.directory)
    (parts.directory / FOLDER / str(STEPS)).rmtree()
    assert Checkpoints(parts.directory, read_only=True).steps() == [FIRST]
    train(parts)
    assert f"going on from the checkpoint of step {FIRST}\n" in capsys.readouterr().err
    (saved, lines), (expected, expected_lines) = end_of(parts), end_of(whole)
    jax.tree.map(np.testing.assert_array_equal, saved.state, expected.state)
    assert lines == expected_lines
    assert saved.examples == lines[-1]["examples"]
    # More examples than rows, and counted.
    assert sum(lines[-1]["examples"].values()) > 1.5 * 8 * STEPS
    assert [line["step"] for line in lines] == [3, 6]
