"""The training run, from top to bottom: state, data, checkpoint, writers, loop."""

import collections
import contextlib
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import gin
import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

from recalign.errors import UserError
from recalign.preprocessors.stream import TOKENS, Stream
from recalign.trainer import partitioning, setup
from recalign.trainer.checkpoints import Checkpoints
from recalign.trainer.evaluation import evaluate
from recalign.trainer.experiment import Experiment
from recalign.trainer.loss import LossParts
from recalign.trainer.optimizer import warm_up_then_constant
from recalign.trainer.state import (
    StepOutcome,
    make_optimizer,
    make_train_step,
    new_state,
    state_shape,
)
from recalign.trainer.validation import Validation
from recalign.trainer.weights import start_weights
from recalign.trainer.writers import CONFIG_FILE, MetricsWriter, progress_line, say

# Steps whose metrics are not fetched yet. With one the device never waits for the host, which
# prepares the next batch meanwhile; and a loss that is not finite is found one step later.
_STEPS_IN_FLIGHT = 1


class Dispatched(NamedTuple):
    """A step that the device is at work on, and what it was given."""

    step: int
    outcome: StepOutcome
    batch: Mapping[str, np.ndarray]


def train(experiment: Experiment) -> dict[str, Any] | None:
    """Trains to TRAIN_STEPS, from the newest checkpoint of MODEL_DIR where there is one.

    Returns:
      What stands in results.json, or None: TEST_SPLIT asks for no evaluation, or the run was told
      to stop (SIGTERM, Ctrl-C) and saved its state; the same command goes on from there.

    Raises:
      UserError: of the experiment, its data or its start weights; or the loss was not finite.
    """
    setup.prepare(experiment)
    mesh = partitioning.make_mesh(experiment.num_partitions)
    microbatches = experiment.microbatches or 1
    partitioning.check_batch_size("BATCH_SIZE", experiment.batch_size, mesh, microbatches)
    stream = Stream.of(experiment.mixture_or_task_name, experiment.seed)
    setup.check_vocabulary(experiment, stream.tasks)
    directory, last_step = experiment.directory, experiment.train_steps
    directory.mkdir(parents=True, exist_ok=True)

    # State: the newest checkpoint, else start weights. -------------------------------------------
    checkpoints = Checkpoints(directory, keep=experiment.keep_checkpoints)
    shape = state_shape(experiment.config, _optimizer(experiment, 0), mesh)
    saved = checkpoints.restore_latest(shape)
    if saved is None:
        params, first_step = start_weights(experiment, mesh)
        optimizer = _optimizer(experiment, first_step)
        state = new_state(params, optimizer, first_step, mesh)
        say(_describe_start(experiment, params, first_step, mesh))
    else:
        state, first_step = saved.state, saved.first_step
        optimizer = _optimizer(experiment, first_step)
        say(f"going on from the checkpoint of step {int(state.step):,}")
    step = resumed_at = int(state.step)
    if first_step > last_step:
        raise UserError(
            f"TRAIN_STEPS = {last_step} is below the start weights' step {first_step}: TRAIN_STEPS "
            "counts the steps of pre-training too"
        )
    schedule = warm_up_then_constant(experiment.learning_rate, experiment.warmup_steps, first_step)
    train_step = make_train_step(
        experiment.config,
        optimizer,
        mesh,
        seed=experiment.seed,
        microbatches=microbatches,
        log_period=experiment.log_period,
        z_loss=experiment.z_loss,
        label_smoothing=experiment.label_smoothing,
        loss_normalizing_factor=experiment.loss_normalizing_factor,
    )

    # Data: from the position where the state stands. ---------------------------------------------
    position = (step - first_step) * experiment.batch_size
    examples_seen = stream.counts(0, position)
    task_names = [task.name for task in stream.tasks]
    batches = stream.batches(
        position,
        experiment.task_feature_lengths,
        experiment.batch_size,
        partitioning.rows_of_this_process(experiment.batch_size, mesh),
    ).as_numpy_iterator()

    # Writers. -------------------------------------------------------------------------------------
    is_writer = jax.process_index() == 0
    writer = MetricsWriter(directory, resumed_at, enabled=is_writer)
    if is_writer:
        _write_config(directory)
    validation = Validation(experiment, stream.tasks, mesh)

    # Loop. ----------------------------------------------------------------------------------------
    clock, tokens = time.perf_counter(), 0
    logged_at = step
    dispatched: collections.deque[Dispatched] = collections.deque()

    def fetch_until(in_flight: int) -> None:
        """Waits for all but the newest steps: refuses a bad loss, writes lines that are due."""
        nonlocal clock, tokens, logged_at, examples_seen
        while len(dispatched) > in_flight:
            done = dispatched.popleft()
            if not np.isfinite(done.outcome.parts.loss):
                raise _bad_loss(directory, done, stream)
            tokens += sum(int(np.count_nonzero(done.batch[name])) for name in TOKENS)
            if done.step % experiment.log_period == 0 or done.step == last_step:
                elapsed = time.perf_counter() - clock
                rates = ((done.step - logged_at) / elapsed, tokens / elapsed)
                examples_seen += stream.counts(
                    *((at - first_step) * experiment.batch_size for at in (logged_at, done.step))
                )
                means = _means(done.outcome.window)
                line = {
                    **means,
                    "learning_rate": float(schedule(np.int32(done.step - 1))),
                    "steps_per_second": rates[0],
                    "tokens_per_second": rates[1],
                    "examples": dict(zip(task_names, examples_seen.tolist(), strict=True)),
                }
                writer.write(done.step, "train", line)
                say(progress_line(done.step, last_step, means["loss"], *rates))
                clock, tokens, logged_at = time.perf_counter(), 0, done.step

    def validate() -> float | None:
        nonlocal clock
        begun = time.perf_counter()
        values, selection = validation.run(state.params)
        if values:
            writer.write(step, "eval", {**values, "seconds": time.perf_counter() - begun})
            say(f"step {step:,} validation | {validation.describe(values)}")
        clock += time.perf_counter() - begun  # the training's rate does not count it
        return selection

    with _stop_requested() as stop, contextlib.closing(checkpoints):
        while step < last_step and not _stops(stop, step):
            batch = next(batches)
            tokens_only = {name: batch[name] for name in TOKENS}
            state, outcome = train_step(state, partitioning.shard_local(mesh, tokens_only))
            step += 1
            dispatched.append(Dispatched(step, outcome, batch))
            fetch_until(_STEPS_IN_FLIGHT)

            at_end = step == last_step
            validates = experiment.eval_period and (at_end or step % experiment.eval_period == 0)
            saves = experiment.checkpoint_period and step % experiment.checkpoint_period == 0
            if validates or saves or at_end:
                fetch_until(0)
                metric = validate() if validates else None
                checkpoints.save(state, first_step, metric)
        fetch_until(0)
        if step > resumed_at or saved is None:
            checkpoints.save(state, first_step)
        checkpoints.wait()

    if step < last_step:
        say(f"stopped: step {step:,} is saved, and the same command goes on from there")
        return None
    if experiment.test_split is None:
        return None
    return evaluate(experiment, experiment.test_split, "best")


def _optimizer(experiment: Experiment, first_step: int) -> Any:
    return make_optimizer(experiment.learning_rate, experiment.warmup_steps, first_step)


def _means(window: LossParts) -> dict[str, float]:
    """Means over the target tokens since the last line of metrics."""
    sums = jax.device_get(window)
    return {
        "loss": float(sums.loss / sums.tokens),
        "z_loss": float(sums.z_loss / sums.tokens),
        "accuracy": float(sums.correct / sums.tokens),
    }


def _bad_loss(directory: epath.Path, done: Dispatched, stream: Stream) -> UserError:
    path = directory / f"bad_batch_{done.step}.npz"
    with path.open("wb") as file:
        arrays: dict[str, Any] = {**done.batch, "tasks": [task.name for task in stream.tasks]}
        np.savez(file, **arrays)
    tasks = ", ".join(stream.tasks[number].name for number in np.unique(done.batch["task"]))
    return UserError(
        f"the loss of step {done.step} is {float(done.outcome.parts.loss)}; its batch (of {tasks}) "
        f"is written to {path}; the newest checkpoint is of a step before it"
    )


def _describe_start(
    experiment: Experiment, params: Any, first_step: int, mesh: jax.sharding.Mesh
) -> str:
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    source = experiment.initial_checkpoint_path or "random weights"
    return (
        f"{experiment.mixture_or_task_name}: {size / 1e6:,.1f} million parameters from {source}, "
        f"steps {first_step:,} to {experiment.train_steps:,} of batch {experiment.batch_size} on "
        f"{mesh.size} {jax.devices()[0].platform} device(s)"
    )


def _write_config(directory: epath.Path) -> None:
    """All of the run's settings in one file, from which `recommend` reads them again."""
    part = directory / f"{CONFIG_FILE}.part"
    part.write_text(gin.config_str())
    part.replace(directory / CONFIG_FILE)


@contextlib.contextmanager
def _stop_requested() -> Iterator[threading.Event]:
    """An event that SIGTERM (a pre-empted machine) and Ctrl-C set instead of ending the process.

    A second Ctrl-C interrupts as usual.
    """
    stop = threading.Event()
    # Only the main thread can handle signals. Of several processes JAX takes note of SIGTERM.
    if threading.current_thread() is not threading.main_thread() or jax.process_count() > 1:
        yield stop
        return

    def request(number: int, frame: Any) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        say(f"{signal.Signals(number).name}: saving the state and leaving")
        stop.set()

    before = {number: signal.signal(number, request) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stops(stop: threading.Event, step: int) -> bool:
    """Whether to stop before this step; several processes come to one answer."""
    if jax.process_count() > 1:
        return bool(multihost_utils.reached_preemption_sync_point(step))
    return stop.is_set()
