"""The training run, from top to bottom: state, data, checkpoint, writers, loop."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

from recalign.data.atomic import write_whole
from recalign.data.prepared import PreparedDataset
from recalign.errors import Stopped, UserError
from recalign.preprocessors.packed_stream import PackedStream
from recalign.preprocessors.stream import TOKENS, Stream
from recalign.preprocessors.task import PreparedSource
from recalign.trainer import partitioning, provenance, run_config, setup
from recalign.trainer.checkpoints import Checkpoints
from recalign.trainer.evaluation import evaluate
from recalign.trainer.experiment import Experiment
from recalign.trainer.lock import TRAINING, locked
from recalign.trainer.loss import LossParts
from recalign.trainer.optimization import optimizer_of, schedule_of
from recalign.trainer.progress import Pace, progress_line
from recalign.trainer.state import (
    StepOutcome,
    make_train_step,
    new_state,
    state_shape,
)
from recalign.trainer.validation import Validation
from recalign.trainer.weights import start_weights
from recalign.trainer.writers import CONFIG_FILE, MetricsWriter, say
from recalign.weights import fingerprints

# Steps whose metrics are not fetched yet. With one the device never waits for the host, which
# prepares the next batch meanwhile; and a loss that is not finite is found one step later.
_STEPS_IN_FLIGHT = 1
# A loss is refused that is so many times the one of guessing among all tokens, log(VOCAB_SIZE).
_EXPLODED = 10


class Dispatched(NamedTuple):
    """A step that the device is at work on, and what it was given."""

    step: int
    outcome: StepOutcome
    batch: Mapping[str, np.ndarray]
    examples: np.ndarray | None  # int64 [tasks], of all processes, where rows are packed


def train(experiment: Experiment, *, force: bool = False) -> dict[str, Any] | None:
    """Trains to TRAIN_STEPS, from the newest checkpoint of MODEL_DIR where there is one.

    Nothing is written before all that can be refused was looked at.

    Args:
      experiment: what to train.
      force: go on where the run was made otherwise, as far as that means anything.

    Returns:
      What stands in results.json; None where TEST_SPLIT asks for no evaluation.

    Raises:
      UserError: of the experiment, its data or its start weights; or another process trains in
        MODEL_DIR; or the loss was not finite, or exploded.
      Stopped: the run was told to stop (SIGTERM, Ctrl-C) and saved its state; the same command goes
        on from there.
    """
    with locked(experiment.directory, TRAINING), experiment.surroundings.entered():
        _train(experiment, force)
    if experiment.test_split is None:
        return None
    return evaluate(experiment, experiment.test_split, "best")


def _dataset(stream: Stream) -> PreparedDataset | None:
    """The prepared dataset that the run is about; None where no task is of one."""
    sources = (getattr(task, "source", None) for task in stream.tasks)
    return next((s.open() for s in sources if isinstance(s, PreparedSource)), None)


def _train(experiment: Experiment, force: bool) -> None:
    setup.prepare(experiment)
    mesh = partitioning.make_mesh(experiment.num_partitions)
    microbatches = experiment.microbatches or 1
    partitioning.check_batch_size("BATCH_SIZE", experiment.batch_size, mesh, microbatches)
    stream = Stream.of(experiment.mixture_or_task_name, experiment.seed)
    setup.check_vocabulary(experiment, stream.tasks)
    directory, last_step = experiment.directory, experiment.train_steps

    # State: the newest checkpoint, else start weights. -------------------------------------------
    checkpoints = Checkpoints(directory, keep=experiment.keep_checkpoints)
    shape = state_shape(experiment.config, optimizer_of(experiment, 0), mesh)
    origin = provenance.origin(experiment, stream.tasks)
    changes = provenance.check_resumed(directory, origin, force) if checkpoints.steps() else []
    saved = checkpoints.restore_latest(shape)
    if saved is None:
        provenance.check_start(experiment.initial_checkpoint_path, origin, force)
        params, first_step = start_weights(experiment, _dataset(stream), mesh)
        start: dict[str, Any] | None = {
            "step": first_step,
            "params": fingerprints.of_arrays(params),
        }
        optimizer = optimizer_of(experiment, first_step)
        state = new_state(params, optimizer, first_step, mesh)
        say(_describe_start(experiment, params, first_step, mesh))
    else:
        state, first_step = saved.state, saved.first_step
        start = None
        optimizer = optimizer_of(experiment, first_step)
        say(f"going on from the checkpoint of step {int(state.step):,}")
    step = resumed_at = int(state.step)
    if first_step > last_step:
        raise UserError(
            f"TRAIN_STEPS = {last_step} is below the start weights' step {first_step}: TRAIN_STEPS "
            "counts the steps of pre-training too"
        )
    schedule = schedule_of(experiment, first_step)
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
    # It compiles while the data is looked up: each takes seconds of one core.
    lengths, batch_size = experiment.task_feature_lengths, experiment.batch_size
    read_by_step = {name: lengths[name] for name in TOKENS}
    if experiment.pack:
        read_by_step |= {f"{name}_segment_ids": lengths[name] for name in TOKENS}
    shapes = partitioning.batch_shapes(mesh, batch_size, read_by_step)
    compiler = concurrent.futures.ThreadPoolExecutor(1)
    if step < last_step:
        compiling = compiler.submit(lambda: train_step.lower(state, shapes).compile())
    compiler.shutdown(wait=False)

    # Data: from the position where the state stands. ---------------------------------------------
    position = (step - first_step) * batch_size
    task_names = [task.name for task in stream.tasks]
    rows = partitioning.rows_of_this_process(batch_size, mesh)
    source: Stream | PackedStream = stream
    if experiment.pack:
        source = PackedStream.of(stream, lengths)
        examples = batch_size * source.examples_per_row
        say(f"packed: a step's {batch_size} rows hold {examples:,.1f} examples on average")
    examples_seen = source.counts(0, position)
    batches = source.batches(position, lengths, batch_size, rows).as_numpy_iterator()
    validation = Validation(experiment, stream.tasks, mesh)

    # Writers. -------------------------------------------------------------------------------------
    is_writer = jax.process_index() == 0
    writer = MetricsWriter(directory, resumed_at, enabled=is_writer)
    if is_writer:
        write_whole(directory / CONFIG_FILE, run_config.text_of(experiment))
        at_step = [f"step {resumed_at}: {it}" for it in changes]
        provenance.write(directory, origin, start, at_step)

    # Loop. ----------------------------------------------------------------------------------------
    pace, logged_at = Pace(experiment.log_period), step
    dispatched: collections.deque[Dispatched] = collections.deque()
    newest: Dispatched | None = None
    highest_loss = _EXPLODED * math.log(experiment.model.vocab_size)
    # Other processes' rows are of the same kinds: this one's tokens stand for them.
    processes = batch_size // (rows.stop - rows.start)

    def fetch_until(in_flight: int) -> None:
        """Waits for all but the newest steps: refuses a bad loss, writes lines that are due."""
        nonlocal logged_at, examples_seen, newest
        while len(dispatched) > in_flight:
            newest = done = dispatched.popleft()
            parts = jax.device_get(done.outcome.parts)
            if not parts.loss <= highest_loss * parts.tokens:  # NaN is not below anything either
                found = f"the loss is {parts.loss / parts.tokens:.5g} a token"
                raise _bad_step(done, found, stream, mesh, directory)
            tokens = sum(int(np.count_nonzero(done.batch[name])) for name in TOKENS)
            pace.step_ended(processes * tokens)
            if done.examples is not None:
                examples_seen = examples_seen + done.examples
            if done.step % experiment.log_period == 0 or done.step == last_step:
                if done.examples is None:
                    examples_seen = examples_seen + stream.counts(
                        *((at - first_step) * batch_size for at in (logged_at, done.step))
                    )
                rates, means = pace.rates, _means(done.outcome.window)
                line = {
                    **means,
                    "learning_rate": float(schedule(np.int32(done.step - 1))),
                    "examples": dict(zip(task_names, examples_seen.tolist(), strict=True)),
                }
                if rates is not None:
                    line |= {"steps_per_second": rates.steps, "tokens_per_second": rates.tokens}
                writer.write(done.step, "train", line)
                say(progress_line(done.step, last_step, means["loss"], rates))
                logged_at = done.step

    def validate() -> float | None:
        begun = time.perf_counter()
        with pace.pause():
            values, selection = validation.run(state.params)
        if values:
            writer.write(step, "eval", {**values, "seconds": time.perf_counter() - begun})
            say(f"step {step:,} validation | {validation.describe(values)}")
        return selection

    def save(metric: float | None = None) -> None:
        fetch_until(0)
        # The loss is of the parameters before the step: what the step made of them shows here.
        if newest is not None and not _all_finite(state.params):
            raise _bad_step(newest, "its update is not finite", stream, mesh, directory)
        checkpoints.save(state, first_step, metric)

    with _stop_requests() as stop, contextlib.closing(checkpoints):
        while step < last_step and not stop.comes_before(step):
            batch = next(batches)
            examples_of_batch = batch.pop("examples", None)
            read = partitioning.shard_local(mesh, {name: batch[name] for name in read_by_step})
            state, outcome = compiling.result()(state, read)
            step += 1
            dispatched.append(Dispatched(step, outcome, batch, examples_of_batch))
            fetch_until(_STEPS_IN_FLIGHT)

            at_end = step == last_step
            validates = experiment.eval_period and (at_end or step % experiment.eval_period == 0)
            saves = experiment.checkpoint_period and step % experiment.checkpoint_period == 0
            if validates or saves or at_end:
                fetch_until(0)
                save(validate() if validates else None)
        if step > resumed_at or saved is None:
            save()
        checkpoints.wait()

    if stop.by is not None:
        raise Stopped(f"step {step:,} is saved", by_hand=stop.by == signal.SIGINT)


def _means(window: LossParts) -> dict[str, float]:
    """Means over the target tokens since the last line of metrics."""
    sums = jax.device_get(window)
    return {
        "loss": float(sums.loss / sums.tokens),
        "z_loss": float(sums.z_loss / sums.tokens),
        "accuracy": float(sums.correct / sums.tokens),
    }


@jax.jit
def _all_finite(params: Any) -> jax.Array:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]).all()


def _bad_step(
    done: Dispatched, found: str, stream: Stream, mesh: jax.sharding.Mesh, directory: epath.Path
) -> UserError:
    """The error to raise; the whole batch, of all processes, is written down."""
    batch = partitioning.to_host(partitioning.shard_local(mesh, done.batch))
    names = [task.name for task in stream.tasks]
    path = directory / f"bad_batch_{done.step}.npz"
    if jax.process_index() == 0:
        with path.open("wb") as file:
            np.savez(file, **batch, tasks=names)
    tasks = ", ".join(names[number] for number in np.unique(batch["task"]) if number >= 0)
    return UserError(
        f"step {done.step}: {found}; its batch (of {tasks}) is written to {path}, and the newest "
        "checkpoint is of a step before it: a lower LEARNING_RATE, or other data?"
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


@dataclasses.dataclass
class StopRequest:
    """Which signal asked the run to stop, if one did."""

    by: signal.Signals | None = None

    def comes_before(self, step: int) -> bool:
        """Whether to stop before this step; several processes come to one answer."""
        # Of several processes JAX itself takes note of SIGTERM, and tells all of them.
        if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step):
            self.by = signal.SIGTERM
        return self.by is not None


@contextlib.contextmanager
def _stop_requests() -> Iterator[StopRequest]:
    """SIGTERM (a pre-empted machine) and Ctrl-C ask to stop instead of ending the process.

    A second Ctrl-C interrupts as usual.
    """
    stop = StopRequest()
    # Only the main thread can handle signals.
    if threading.current_thread() is not threading.main_thread() or jax.process_count() > 1:
        yield stop
        return

    def request(number: int, frame: Any) -> None:
        if stop.by is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.by = signal.Signals(number)
        say(f"{stop.by.name}: saving the state and leaving")

    before = {number: signal.signal(number, request) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
