"""A run that is ended by SIGKILL, SIGTERM or Ctrl-C ends, started again, as if nothing had been."""

import json
import random
import resource
import signal
import time

import jax
import numpy as np
import pytest
from etils import epath

from recalign.trainer import partitioning
from recalign.trainer.checkpoints import FOLDER, Checkpoints
from recalign.trainer.experiment import load_experiment
from recalign.trainer.state import state_shape
from tests.optimizers import make_optimizer
from tests.trainer import processes
from tests.trainer.conftest import FILES, TWO_TASKS, bindings, without_times

KILLS, KILLS_OF_TWO = 10, 4
# Long enough for all kills, a line a step, checkpoints that are being written most of the time.
LONG = {"TRAIN_STEPS": 400, "LOG_PERIOD": 1, "CHECKPOINT_PERIOD": 3, "EVAL_PERIOD": 40}
LONG |= {"EVAL_TASKS": (), **TWO_TASKS}

pytestmark = pytest.mark.slow


@pytest.fixture
def run_of(data_dir, tmp_path):
    """The bindings of a run in a folder of the test's."""

    def make(name, **macros):
        return bindings(MODEL_DIR=str(tmp_path / name), DATA_DIR=data_dir, **{**LONG, **macros})

    return make


def end_of(run):
    """(the whole last state, metrics.jsonl but for its times)."""
    experiment = load_experiment(FILES, run)
    optimizer = make_optimizer(experiment.learning_rate, experiment.warmup_steps, 0)
    shape = state_shape(experiment.network, optimizer, partitioning.make_mesh())
    saved = Checkpoints(experiment.directory, read_only=True).restore_latest(shape)
    assert int(saved.state.step) == experiment.train_steps
    lines = (experiment.directory / "metrics.jsonl").read_text().splitlines()
    return saved.state, without_times(map(json.loads, lines))


def assert_ended_alike(run, undisturbed):
    (state, lines), (expected_state, expected_lines) = end_of(run), end_of(undisturbed)
    jax.tree.map(np.testing.assert_array_equal, state, expected_state)
    assert lines == expected_lines
    steps = [line["step"] for line in lines if line["kind"] == "train"]
    assert steps == list(range(1, len(steps) + 1))


def unfinished(folder):
    """Checkpoints that are being written."""
    return list((folder / FOLDER).glob("*tmp*"))


def wait_for(true, process):
    while not true() and process.poll() is None:
        time.sleep(0.002)


def newest_line(folder):
    """Of metrics.jsonl, without one that is being written."""
    log = folder / "metrics.jsonl"
    whole = log.read_text().rpartition("\n")[0] if log.exists() else ""
    return json.loads(whole.splitlines()[-1]) if whole else {"time": 0.0, "step": 0}


def wait_for_a_line(folder, process):
    """Until the process has written a line of metrics itself."""
    begun = time.time()
    wait_for(lambda: newest_line(folder)["time"] > begun, process)


def kill_at_a_moment(folder, process, moments, within, while_saving):
    """Some of the next `within` steps after its first one; returns whether it was saving then."""
    wait_for_a_line(folder, process)
    last = newest_line(folder)["step"] + moments.randrange(within)
    wait_for(lambda: newest_line(folder)["step"] >= last, process)
    time.sleep(moments.uniform(0, 0.02))
    if while_saving:
        wait_for(lambda: unfinished(folder), process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    return bool(unfinished(folder))


@pytest.mark.parametrize("pack", [False, True])
def test_killed_ten_times(run_of, tmp_path, pack):
    moments = random.Random(0)
    processes.run(run_of("undisturbed", PACK=pack), tmp_path)
    run, while_saving = run_of("killed", PACK=pack), 0
    for kill in range(KILLS):
        with processes.started(run, tmp_path) as (process,):
            while_saving += kill_at_a_moment(
                tmp_path / "killed", process, moments, 30, kill % 2 == 0
            )
    assert while_saving >= KILLS // 2
    # None of them is taken for a whole one.
    assert not [step for step in Checkpoints(epath.Path(tmp_path / "killed")).steps() if step % 3]
    processes.run(run, tmp_path)
    assert_ended_alike(run, run_of("undisturbed", PACK=pack))
    assert not unfinished(tmp_path / "killed")


def test_one_of_two_killed(run_of, tmp_path):
    """The other one ends too, and both started again end as if nothing had been."""
    moments, short = random.Random(1), {"TRAIN_STEPS": 60}
    processes.run(run_of("undisturbed", **short), tmp_path, 2)
    run = run_of("killed", **short)
    for kill in range(KILLS_OF_TWO):
        with processes.started(run, tmp_path, 2) as running:
            killed, other = running[kill % 2], running[1 - kill % 2]
            kill_at_a_moment(tmp_path / "killed", killed, moments, 10, kill < 2)
            assert other.wait(timeout=300) not in (0, 75)
    processes.run(run, tmp_path, 2)
    assert_ended_alike(run, run_of("undisturbed", **short))


@pytest.mark.parametrize("count", [1, 2])
def test_told_to_stop(run_of, tmp_path, count):
    """SIGTERM to any process: all save the same step and leave with 75, "more to do"."""
    short = {"TRAIN_STEPS": 60, "CHECKPOINT_PERIOD": 0, "EVAL_PERIOD": 0}
    run = run_of("stopped", **short)
    # Ctrl-C is for one process: of several, whoever started them has to end the others.
    for number, status in ((signal.SIGTERM, 75), (signal.SIGINT, 130))[: 3 - count]:
        with processes.started(run, tmp_path, count) as running:
            wait_for_a_line(tmp_path / "stopped", running[-1])
            running[-1].send_signal(number)
            assert [process.wait(timeout=300) for process in running] == [status] * count
        assert "is saved; the same command goes on from there" in processes.said(tmp_path)
    processes.run(run, tmp_path, count)
    processes.run(run_of("undisturbed", **short), tmp_path, count)
    assert_ended_alike(run, run_of("undisturbed", **short))


def test_a_full_disk_ends_in_one_line_and_the_run_goes_on(run_of, tmp_path):
    """No file of the run may grow beyond 20,000 bytes, as Orbax's description of a state does."""
    short = {"TRAIN_STEPS": 60, "CHECKPOINT_PERIOD": 20, "EVAL_PERIOD": 0}
    run = run_of("full", **short)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with processes.started(run, tmp_path) as (process,):
            assert process.wait(timeout=600) == 2, processes.said(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    said = processes.said(tmp_path)
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if line.startswith("recalign: error: ")]
    assert "checkpoints: cannot be written: File too large; whole checkpoints are kept" in line
    processes.run(run, tmp_path)
    processes.run(run_of("undisturbed", **short), tmp_path)
    assert_ended_alike(run, run_of("undisturbed", **short))
