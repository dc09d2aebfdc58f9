"""The training run, from top to bottom: state, data, writers, loop."""

import concurrent.futures
import contextlib
import signal
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from recalign.data.atomic import write_whole
from recalign.data.prepared import PreparedDataset
from recalign.errors import Stopped, UserError
from recalign.preprocessors.packed_stream import PackedStream
from recalign.preprocessors.stream import TOKENS, Stream
from recalign.preprocessors.task import PreparedSource
from recalign.trainer import partitioning, provenance, run_config, setup
from recalign.trainer.checkpoints import Checkpoints, Saved
from recalign.trainer.evaluation import evaluate
from recalign.trainer.experiment import Experiment
from recalign.trainer.in_flight import Dispatched, StepsInFlight
from recalign.trainer.lock import TRAINING, locked
from recalign.trainer.optimization import optimizer_of, train_step_of
from recalign.trainer.progress import Pace
from recalign.trainer.start_values import start_weights
from recalign.trainer.state import TrainState, new_state, state_shape
from recalign.trainer.stopping import stop_requests
from recalign.trainer.validation import Validation
from recalign.trainer.writers import CONFIG_FILE, MetricsWriter, say
from recalign.weights import fingerprints

# Steps whose metrics are not fetched yet. With one the device never waits for the host, which
# prepares the next batch meanwhile; and a loss that is not finite is found one step later.
_STEPS_IN_FLIGHT = 1


def train(experiment: Experiment, *, force: bool = False) -> dict[str, Any] | None:
    """Trains to TRAIN_STEPS, from the newest checkpoint of MODEL_DIR where there is one.

    Nothing is written before all that can be refused was looked at. With `force` a run goes on that
    was made otherwise, as far as that means anything. Returns what stands in results.json; None
    where TEST_SPLIT asks for no evaluation. Raises `Stopped` when the run was told to stop
    (SIGTERM, Ctrl-C) and saved its state: the same command goes on from there.
    """
    with locked(experiment.directory, TRAINING), experiment.surroundings.entered():
        _train(experiment, force)
    if experiment.test_split is None:
        return None
    return evaluate(experiment, experiment.test_split, "best")


def _train(experiment: Experiment, force: bool) -> None:
    setup.prepare(experiment)
    mesh = partitioning.make_mesh(experiment.num_partitions)
    partitioning.check_batch_size(
        "BATCH_SIZE", experiment.batch_size, mesh, experiment.microbatches or 1
    )
    stream = Stream.of(experiment.mixture_or_task_name, experiment.seed)
    setup.check_vocabulary(experiment, stream.tasks)
    validation = Validation(experiment, stream.tasks, mesh)
    directory, last_step = experiment.directory, experiment.train_steps

    # State: the newest checkpoint, else start weights. The step compiles while data is looked up.
    checkpoints = Checkpoints(directory, keep=experiment.keep_checkpoints)
    origin = provenance.origin(experiment, stream.tasks)
    changes = provenance.check_resumed(directory, origin, force) if checkpoints.steps() else []
    saved = checkpoints.restore_latest(
        state_shape(experiment.network, optimizer_of(experiment, 0), mesh)
    )
    if saved is None:
        provenance.check_start(experiment.initial_checkpoint_path, origin, force)
        state, first_step, start = _new_state(experiment, stream, mesh)
    else:
        state, first_step, start = saved.state, saved.first_step, None
        say(f"going on from the checkpoint of step {int(state.step):,}")
    step = resumed_at = int(state.step)
    if first_step > last_step:
        raise UserError(
            f"TRAIN_STEPS = {last_step} is below the start weights' step {first_step}: TRAIN_STEPS "
            "counts the steps of pre-training too"
        )
    lengths, batch_size = experiment.task_feature_lengths, experiment.batch_size
    read_by_step = {name: lengths[name] for name in TOKENS}
    if experiment.pack:
        read_by_step |= {f"{name}_segment_ids": lengths[name] for name in TOKENS}
    shapes = partitioning.batch_shapes(mesh, batch_size, read_by_step)
    if step < last_step:
        compiling = _compiling(experiment, state, first_step, mesh, shapes)

    # Data: from the position where the state stands.
    position = (step - first_step) * batch_size
    source: Stream | PackedStream = stream
    if experiment.pack:
        source = PackedStream.of(stream, lengths, say)
        average = batch_size * source.examples_per_row
        say(f"packed: a step's {batch_size} rows hold {average:,.1f} examples on average")
        examples_seen = _examples_seen(saved, stream, round(position * source.examples_per_row))
    else:
        average = batch_size
        examples_seen = stream.counts(0, position)
    steps = last_step - first_step
    passes = [f"{n:,.1f} over {task}" for task, n in stream.passes(steps * average).items()]
    told = ", ".join(passes) or "not known"
    say(f"{steps:,} steps, {steps * average:,.0f} examples; passes: {told}")
    rows = partitioning.rows_of_this_process(batch_size, mesh)
    batches = source.batches(position, lengths, batch_size, rows).as_numpy_iterator()

    # Writers.
    is_writer = jax.process_index() == 0
    lines = None if saved is None else saved.lines
    writer = MetricsWriter(directory, resumed_at, is_writer, lines)
    run = provenance.mark_of(directory, origin, start)
    if is_writer:
        write_whole(directory / CONFIG_FILE, run_config.text_of(experiment))
        at_step = [f"step {resumed_at}: {it}" for it in changes]
        provenance.write(directory, origin, start, run, at_step)

    # Loop.
    pace = Pace(experiment.log_period)
    in_flight = StepsInFlight(
        experiment, stream, mesh, writer, first_step, step, examples_seen, pace
    )

    def save(state: TrainState, selection: float | None = None) -> None:
        in_flight.check_update(state.params)
        examples = in_flight.packed_examples
        checkpoints.save(state, first_step, selection, writer.lines, run, examples)

    with stop_requests() as stop, contextlib.closing(checkpoints):
        while step < last_step and not stop.comes_before(step):
            batch = next(batches)
            examples_of_batch = batch.pop("examples", None)
            read = partitioning.shard_local(mesh, {name: batch[name] for name in read_by_step})
            state, outcome = compiling.result()(state, read)
            step += 1
            in_flight.add(Dispatched(step, outcome, batch, examples_of_batch))
            in_flight.wait(_STEPS_IN_FLIGHT)

            at_end = step == last_step
            validates = experiment.eval_period and (at_end or step % experiment.eval_period == 0)
            saves = experiment.checkpoint_period and step % experiment.checkpoint_period == 0
            if validates or saves or at_end:
                in_flight.wait()
                selection = None
                if validates:
                    selection = _validate(validation, state.params, step, pace, writer)
                save(state, selection)
        if step > resumed_at or start is not None:
            in_flight.wait()
            save(state)
        checkpoints.wait()

    if stop.by is not None:
        raise Stopped(f"step {step:,} is saved", by_hand=stop.by == signal.SIGINT)


def _new_state(
    experiment: Experiment, stream: Stream, mesh: jax.sharding.Mesh
) -> tuple[TrainState, int, dict[str, Any] | None]:
    """(state, step at which fine-tuning begins, what run.json says of the start weights)."""
    params, first_step = start_weights(experiment, _dataset(stream), mesh)
    start = {"step": first_step, "params": fingerprints.of_arrays(params)}
    say(_describe_start(experiment, params, first_step, mesh))
    state = new_state(params, optimizer_of(experiment, first_step), first_step, mesh)
    return state, first_step, start


def _examples_seen(saved: Saved | None, stream: Stream, about: int) -> np.ndarray:
    """int64 [tasks], in packed rows before the checkpoint; near to it where that does not say."""
    if saved is None or saved.examples is None:
        if about:
            say("the checkpoint does not say how many examples its rows held: counted on average")
        return stream.counts(0, about)
    return np.array([saved.examples.get(task.name, 0) for task in stream.tasks], np.int64)


def _dataset(stream: Stream) -> PreparedDataset | None:
    """The prepared dataset that the run is about; None where no task is of one."""
    sources = (getattr(task, "source", None) for task in stream.tasks)
    return next((s.open() for s in sources if isinstance(s, PreparedSource)), None)


def _compiling(
    experiment: Experiment,
    state: TrainState,
    first_step: int,
    mesh: jax.sharding.Mesh,
    batch: Mapping[str, jax.ShapeDtypeStruct],
) -> concurrent.futures.Future[jax.stages.Compiled]:
    """The compiled train step, when it is there: compilation takes seconds of one core."""
    train_step: Any = train_step_of(experiment, first_step, mesh)
    compiler = concurrent.futures.ThreadPoolExecutor(1)
    compiling = compiler.submit(lambda: train_step.lower(state, batch).compile())
    compiler.shutdown(wait=False)
    return compiling


def _validate(
    validation: Validation, params: Any, step: int, pace: Pace, writer: MetricsWriter
) -> float | None:
    """Writes the validation's line; returns what the best checkpoint is chosen by."""
    begun = time.perf_counter()
    with pace.pause():
        values, selection = validation.run(params)
    if values:
        writer.write(step, "eval", {**values, "seconds": time.perf_counter() - begun})
        say(f"step {step:,} validation | {validation.describe(values)}")
    return selection


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
