import json
import os
import re
import signal
import threading
import time
import types

import jax
import numpy as np
import pytest
from etils import epath

from recalign.errors import Stopped, UserError
from recalign.trainer import optimization, partitioning
from recalign.trainer.checkpoints import FOLDER, Checkpoints
from recalign.trainer.experiment import load_experiment
from recalign.trainer.lock import TRAINING
from recalign.trainer.loop import train
from recalign.trainer.state import sharded_params_shape
from recalign.trainer.writers import MetricsWriter
from tests.trainer import processes
from tests.trainer.conftest import FILES, TWO_TASKS, bindings, without_times


def final_params(experiment):
    checkpoints = Checkpoints(experiment.directory, read_only=True)
    shape = sharded_params_shape(experiment.network, partitioning.make_mesh())
    step, params = checkpoints.restore_params("last", shape)
    assert step == experiment.train_steps
    return params


def lines(experiment, kind="train"):
    text = (experiment.directory / "metrics.jsonl").read_text()
    return [line for line in map(json.loads, text.splitlines()) if line["kind"] == kind]


def assert_bit_equal(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


@pytest.fixture(scope="module")
def undisturbed(data_dir, tmp_path_factory):
    """The run that no one interrupts; the others must end as it does."""
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
    """Once, in the middle of a window and at no checkpoint; test_killed.py does it ten times.

    While it lives, another process is refused at once and changes nothing; killed it holds nothing.
    """
    run = experiment(**TWO_TASKS)
    log = run.directory / "metrics.jsonl"
    endless = bindings(MODEL_DIR=run.model_dir, DATA_DIR=data_dir, TRAIN_STEPS=10**6, **TWO_TASKS)
    with processes.started(endless, tmp_path) as (process,):
        while process.poll() is None and not (log.exists() and '"step": 6' in log.read_text()):
            time.sleep(0.01)
        process.send_signal(signal.SIGSTOP)  # it trains no further meanwhile
        with pytest.raises(UserError, match=rf"process {process.pid} on \S+ holds its training"):
            train(run)
        process.kill()
        assert process.wait() == -signal.SIGKILL, processes.said(tmp_path)
    # Steps that the killed run was past of are trained again, as the others were.
    for step in Checkpoints(run.directory, read_only=True).steps():
        if step > 8:
            (run.directory / FOLDER / str(step)).rmtree()
    assert train(run) is None
    assert not (run.directory / TRAINING).exists()
    assert_bit_equal(final_params(run), undisturbed[1])
    assert without_times(lines(run)) == without_times(lines(undisturbed[0]))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_told_to_stop_it_saves_and_the_same_command_goes_on(
    undisturbed, experiment, data_dir, capfd, number, status
):
    run = experiment(CHECKPOINT_PERIOD=0, **TWO_TASKS)

    def end_soon():
        log = run.directory / "metrics.jsonl"
        while not (log.exists() and log.read_text()):
            time.sleep(0.005)
        os.kill(os.getpid(), number)

    threading.Thread(target=end_soon, daemon=True).start()
    handler = signal.getsignal(number)
    with pytest.raises(Stopped) as stopped:
        train(run)
    assert stopped.value.status == status
    assert signal.getsignal(number) is handler
    (stopped_at,) = Checkpoints(run.directory, read_only=True).steps()
    assert str(stopped.value) == f"step {stopped_at} is saved"
    assert f"{number.name}: saving the state and leaving" in capfd.readouterr().err
    assert train(run) is None
    assert_bit_equal(final_params(run), undisturbed[1])
    assert without_times(lines(run)) == without_times(lines(undisturbed[0]))


@pytest.fixture
def ruin(monkeypatch):
    """Multiplies the parameters of a step of all that is trained: what a learning rate might do."""
    make = optimization.make_train_step

    def ruin_at(number, factor):
        def ruinous(*args, **settings):
            step = make(*args, **settings)

            def lower(*shapes):
                compiled = step.lower(*shapes).compile()

                def ruined(state, batch):
                    state, outcome = compiled(state, batch)
                    if int(state.step) == number:
                        params = jax.tree.map(lambda leaf: leaf * factor, state.params)
                        state = state._replace(params=params)
                    return state, outcome

                return types.SimpleNamespace(compile=lambda: ruined)

            return types.SimpleNamespace(lower=lower)

        monkeypatch.setattr(optimization, "make_train_step", ruinous)

    return ruin_at


@pytest.mark.parametrize(
    ("factor", "found"),
    [(np.nan, "the loss is nan a token"), (100.0, r"the loss is \d\S+ a token")],
)
def test_a_bad_loss_stops_the_run(experiment, ruin, factor, found):
    ruin(4, factor)
    run = experiment(CHECKPOINT_PERIOD=0, **TWO_TASKS)
    with pytest.raises(UserError, match=rf"^step 5: {found}; its batch \(of ") as error:
        train(run)
    (path,) = run.directory.glob("bad_batch_*.npz")
    assert f"is written to {path}" in str(error.value)
    with path.open("rb") as file:
        batch = np.load(file)
        assert batch["inputs"].shape == (8, 96)
        assert batch["targets"].shape == (8, 24)
        names = [batch["tasks"][number] for number in batch["task"]]
    assert len(names) == 8
    assert all(name in str(error.value) for name in names)
    assert not (run.directory / FOLDER).exists()


def test_a_step_that_ruins_the_parameters_is_not_saved(experiment, ruin):
    """Its own loss is of the parameters before it."""
    ruin(4, np.nan)
    run = experiment(CHECKPOINT_PERIOD=2, **TWO_TASKS)
    with pytest.raises(UserError, match=r"^step 4: its update is not finite; its batch \(of "):
        train(run)
    assert Checkpoints(run.directory, read_only=True).steps() == [2]


def test_start_weights_of_another_run(undisturbed, experiment):
    source = undisturbed[0].model_dir
    run = experiment(INITIAL_CHECKPOINT_PATH=source, TRAIN_STEPS=12, **TWO_TASKS)
    assert train(run) is None  # no step is left: TRAIN_STEPS counts those of the start weights
    assert_bit_equal(final_params(run), undisturbed[1])


def test_mistakes_that_only_the_data_shows(experiment, tmp_path):
    """They leave nothing behind."""
    for macros, message in (
        ({"MIXTURE_OR_TASK_NAME": "ut_at_nowhere"}, "ut_at_nowhere"),
        ({"VOCAB_SIZE": 16}, "VOCAB_SIZE = 16 is too small"),
        ({"EVAL_TASKS": ("mim_tiny",), "EVAL_PERIOD": 4}, "EVAL_TASKS: 'mim_tiny'"),
        ({"NUM_PARTITIONS": 3}, "NUM_PARTITIONS = 3"),
        ({"MIXTURE_OR_TASK_MODULE": "no_such_module"}, "MIXTURE_OR_TASK_MODULE"),
        ({"MIXTURE_OR_TASK_NAME": "ut_at_toys"}, "not prepared"),
        ({"INITIAL_CHECKPOINT_PATH": "/nowhere/at/all"}, "/nowhere/at/all"),
        ({"INITIAL_CHECKPOINT_PATH": ("a", "b")}, re.escape("('a', 'b')")),
        ({"INITIAL_STEP": 100}, "TRAIN_STEPS = 12 is below"),
    ):
        with pytest.raises(UserError, match=message):
            train(experiment(**macros))
        assert not (tmp_path / "run").exists()


def test_metrics_log_loses_half_a_line_and_what_is_trained_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 2}\n{"step": 4}\n{"step": 6}\n{"st')
    writer = MetricsWriter(epath.Path(tmp_path), first_step=4)
    writer.write(6, "train", {"loss": 1.5, "tasks": {"a": {"b": 2.0}}})
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in found] == [2, 4, 6]
    assert found[-1]["tasks"] == {"a": {"b": 2.0}}


def test_a_damaged_line_of_the_metrics_log_is_told_and_taken_away(tmp_path, capfd):
    path = tmp_path / "metrics.jsonl"
    writer = MetricsWriter(epath.Path(tmp_path), first_step=0)
    for step in (2, 4, 6, 8):
        writer.write(step, "train", {"loss": step / 10})
    whole = path.read_bytes().splitlines(keepends=True)
    damaged = whole[1].replace(b"0.4", b"0.3")  # another number, and JSON as before
    path.write_bytes(b"".join([whole[0], damaged, *whole[2:]]))
    MetricsWriter(epath.Path(tmp_path), first_step=6)
    assert path.read_bytes().splitlines(keepends=True) == [whole[0], whole[2]]
    assert "metrics.jsonl, line 2 is damaged and is taken away" in capfd.readouterr().err


def test_the_metrics_log_goes_on_with_the_number_that_its_checkpoint_says(tmp_path, capfd):
    path = tmp_path / "metrics.jsonl"
    writer = MetricsWriter(epath.Path(tmp_path), first_step=0)
    for step in (2, 4, 6, 8):
        writer.write(step, "train", {"loss": 1.0})
    assert writer.lines == 4
    whole = path.read_bytes().splitlines(keepends=True)
    for left, lines, numbers in (
        (whole, 3, [1, 2, 3, 4]),  # the fourth was past the checkpoint
        (whole[:2], 3, [1, 2, 4]),  # the third is gone
        ([whole[0], whole[2]], 3, [1, 3, 4]),
        (whole[:2], None, [1, 2, 3]),  # an earlier checkpoint, which does not say
    ):
        path.write_bytes(b"".join(left))
        MetricsWriter(epath.Path(tmp_path), 6, lines=lines).write(8, "train", {"loss": 1.0})
        found = [json.loads(line)["line"] for line in path.read_text().splitlines()]
        assert found == numbers
        told = capfd.readouterr().err
        assert ("2 of its 3 lines until step 6" in told) == (numbers == [1, 2, 4])
