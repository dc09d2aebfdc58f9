import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest
from etils import epath

from recalign.errors import UserError
from recalign.trainer import partitioning, train
from recalign.trainer.checkpoints import FOLDER, Checkpoints
from recalign.trainer.state import sharded_params_shape
from tests.trainer.conftest import bindings

ROOT = pathlib.Path(__file__).resolve().parents[2]


def final_params(experiment):
    checkpoints = Checkpoints(experiment.directory, read_only=True)
    shape = sharded_params_shape(experiment.config, partitioning.make_mesh())
    step, params = checkpoints.restore_params("last", shape)
    assert step == experiment.train_steps
    return params


def lines(experiment, kind="train"):
    text = (experiment.directory / "metrics.jsonl").read_text()
    return [line for line in map(json.loads, text.splitlines()) if line["kind"] == kind]


# Two tasks: all five are trained and evaluated in test_evaluation.py.
TWO_TASKS = {"MIXTURE_OR_TASK_NAME": "retrieval_mlm_tiny"}
TIMES = ("time", "steps_per_second", "tokens_per_second")


def without_times(metrics):
    return [{k: v for k, v in line.items() if k not in TIMES} for line in metrics]


def assert_bit_equal(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


@pytest.fixture(scope="module")
def undisturbed(data_dir, tmp_path_factory):
    """The run that no one interrupts; the others must end as it does."""
    from recalign.trainer import load_experiment
    from tests.trainer.conftest import FILES

    directory = str(tmp_path_factory.mktemp("undisturbed"))
    experiment = load_experiment(
        FILES, bindings(MODEL_DIR=directory, DATA_DIR=data_dir, **TWO_TASKS)
    )
    assert train(experiment) is None
    return experiment, final_params(experiment)


def test_a_line_each_period_and_the_loss_falls(undisturbed):
    experiment, _ = undisturbed
    found = lines(experiment)
    assert [line["step"] for line in found] == [2, 4, 6, 8, 10, 12]
    assert found[-1]["loss"] < found[0]["loss"]
    assert sum(found[-1]["examples"].values()) == 12 * 8
    assert set(found[-1]["examples"]) == {"retrieval_tiny", "mlm_tiny"}
    np.testing.assert_allclose(found[0]["learning_rate"], 0.001 / 4)
    assert (experiment.directory / "config.gin").exists()
    assert list(experiment.directory.glob("events.out.tfevents.*"))


def test_killed_and_started_again_ends_bit_equal(undisturbed, experiment, data_dir, tmp_path):
    run = experiment(**TWO_TASKS)
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.trainer.killed_run",
            jax.config.jax_compilation_cache_dir,
            *bindings(MODEL_DIR=run.model_dir, DATA_DIR=data_dir, TRAIN_STEPS=100_000, **TWO_TASKS),
        ],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    # In the middle of a window and at no checkpoint, while checkpoints are being written.
    log = tmp_path / "run" / "metrics.jsonl"
    while process.poll() is None and not (log.exists() and '"step": 6' in log.read_text()):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    # Steps that the killed run was past of are trained again, as the others were.
    for step in Checkpoints(run.directory, read_only=True).steps():
        if step > 8:
            (run.directory / FOLDER / str(step)).rmtree()
    assert train(run) is None
    assert_bit_equal(final_params(run), undisturbed[1])
    assert without_times(lines(run)) == without_times(lines(undisturbed[0]))


def test_sigterm_saves_and_the_same_command_goes_on(undisturbed, experiment, capfd):
    run = experiment(CHECKPOINT_PERIOD=0, **TWO_TASKS)

    def end_soon():
        log = run.directory / "metrics.jsonl"
        while not (log.exists() and log.read_text()):
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end_soon, daemon=True).start()
    handler = signal.getsignal(signal.SIGTERM)
    assert train(run) is None
    assert signal.getsignal(signal.SIGTERM) is handler
    (stopped_at,) = Checkpoints(run.directory, read_only=True).steps()
    assert f"step {stopped_at} is saved" in capfd.readouterr().err or stopped_at == 12
    assert train(run) is None
    assert_bit_equal(final_params(run), undisturbed[1])
    assert without_times(lines(run)) == without_times(lines(undisturbed[0]))


def test_a_loss_that_is_not_finite_stops_the_run(experiment):
    run = experiment(LEARNING_RATE=1e30, WARMUP_STEPS=0, CHECKPOINT_PERIOD=0, **TWO_TASKS)
    with pytest.raises(UserError, match=r"the loss of step \d+ is (nan|inf)") as error:
        train(run)
    (path,) = run.directory.glob("bad_batch_*.npz")
    assert path.name in str(error.value)
    with path.open("rb") as file:
        batch = np.load(file)
        assert batch["inputs"].shape == (8, 96)
        assert "retrieval_tiny" in batch["tasks"]
    assert Checkpoints(run.directory, read_only=True).steps() == []


def test_start_weights_of_another_run(undisturbed, experiment):
    source = undisturbed[0].model_dir
    run = experiment(INITIAL_CHECKPOINT_PATH=source, TRAIN_STEPS=12, **TWO_TASKS)
    assert train(run) is None  # no step is left: TRAIN_STEPS counts those of the start weights
    assert_bit_equal(final_params(run), undisturbed[1])


@pytest.mark.parametrize("path", ["/nowhere/at/all", ("a", "b")])
def test_start_weights_that_are_not_there(experiment, path):
    with pytest.raises(UserError, match=re.escape(path if isinstance(path, str) else repr(path))):
        train(experiment(INITIAL_CHECKPOINT_PATH=path, **TWO_TASKS))


def test_mistakes_that_only_the_data_shows(experiment, tmp_path):
    for macros, message in (
        ({"MIXTURE_OR_TASK_NAME": "ut_at_nowhere"}, "ut_at_nowhere"),
        ({"VOCAB_SIZE": 16}, "VOCAB_SIZE = 16 is too small"),
        ({"EVAL_TASKS": ("mim_tiny",), "EVAL_PERIOD": 4}, "EVAL_TASKS: 'mim_tiny'"),
        ({"NUM_PARTITIONS": 3}, "NUM_PARTITIONS = 3"),
        ({"MIXTURE_OR_TASK_MODULE": "no_such_module"}, "MIXTURE_OR_TASK_MODULE"),
        ({"MIXTURE_OR_TASK_NAME": "ut_at_toys"}, "not prepared"),
    ):
        with pytest.raises(UserError, match=message):
            train(experiment(**macros))


def test_metrics_log_loses_half_a_line_and_what_is_trained_again(tmp_path):
    from recalign.trainer.writers import MetricsWriter

    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 2}\n{"step": 4}\n{"step": 6}\n{"st')
    writer = MetricsWriter(epath.Path(tmp_path), first_step=4)
    writer.write(6, "train", {"loss": 1.5, "tasks": {"a": {"b": 2.0}}})
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in found] == [2, 4, 6]
    assert found[-1]["tasks"] == {"a": {"b": 2.0}}
