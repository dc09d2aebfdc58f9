"""The two programs of an experiment, traced for a slice from shapes alone: nothing is allocated."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from recalign.model.decode import beam_decode
from recalign.trainer import partitioning
from recalign.trainer.experiment import Experiment
from recalign.trainer.optimization import optimizer_of, train_step_of
from recalign.trainer.state import TrainState, make_loss_sums, state_shape


@dataclasses.dataclass(frozen=True)
class Layout:
    """What a search may change: the gin macros NUM_PARTITIONS, MICROBATCHES and REMAT."""

    num_partitions: int
    microbatches: int
    remat: bool | str

    @classmethod
    def of(cls, experiment: Experiment) -> "Layout":
        return cls(experiment.num_partitions, experiment.microbatches or 1, experiment.model.remat)

    def applied(self, experiment: Experiment) -> Experiment:
        return dataclasses.replace(
            experiment,
            num_partitions=self.num_partitions,
            microbatches=self.microbatches,
            model=dataclasses.replace(experiment.model, remat=self.remat),
        )

    def gin(self) -> list[str]:
        microbatches = self.microbatches if self.microbatches > 1 else None
        return [
            f"NUM_PARTITIONS = {self.num_partitions}",
            f"MICROBATCHES = {microbatches}",
            f"REMAT = {self.remat!r}",
        ]


@dataclasses.dataclass(frozen=True)
class Program:
    """A traced program, ready to be compiled."""

    traced: Any  # what `jax.jit(f).trace(...)` gives
    while_turns: int = 1  # the most turns of the loop whose end depends on what it computes


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Bytes a chip holds, from shapes and shardings."""

    parameters: int  # of the model
    optimizer: int  # second moments
    # One for each parameter, and their sum where there are microbatches; they live while a step
    # runs.
    gradients: int
    # What the forward pass keeps for the backward pass, of one microbatch. XLA may keep less, where
    # computing again is free, and more, where it pads.
    activations: int


def mesh_of(devices: list[Any], layout: Layout) -> Mesh:
    return partitioning.make_mesh(layout.num_partitions, devices)


def train_program(experiment: Experiment, layout: Layout, mesh: Mesh) -> Program:
    """The train step, as the trainer compiles it."""
    step: Any = train_step_of(layout.applied(experiment), experiment.initial_step, mesh)
    state = _state_shape(experiment, layout, mesh)
    sharding = partitioning.batch_sharding(mesh)
    return Program(step.trace(state, _batch(experiment, experiment.batch_size, sharding)))


def decode_program(experiment: Experiment, layout: Layout, mesh: Mesh) -> Program:
    """Beam search over the vocabulary, at the full lengths and the evaluation's batch."""
    longest = experiment.task_feature_lengths["targets"]
    decode = jax.jit(
        functools.partial(
            beam_decode,
            network=layout.applied(experiment).network,
            beam_size=experiment.beam_size,
            max_decode_len=longest,
            batch_sharding=partitioning.batch_sharding(mesh),
        )
    )
    params = _state_shape(experiment, layout, mesh).params
    sharding = partitioning.batch_sharding(mesh)
    inputs = _batch(experiment, experiment.decode_batch_size, sharding)["inputs"]
    traced = decode.trace(params, encoder_input_tokens_BxL=inputs)
    return Program(traced, while_turns=max(1, longest - 1))  # the first step is before the loop


def sizes(experiment: Experiment, layout: Layout, mesh: Mesh) -> Sizes:
    state = _state_shape(experiment, layout, mesh)
    parameters = _held_bytes(state.params)
    return Sizes(
        parameters=parameters,
        optimizer=_held_bytes(state.optimizer),
        gradients=parameters * (2 if layout.microbatches > 1 else 1),
        activations=_activation_bytes(experiment, layout, mesh),
    )


def _state_shape(experiment: Experiment, layout: Layout, mesh: Mesh) -> TrainState:
    optimizer = optimizer_of(experiment, experiment.initial_step)
    return state_shape(layout.applied(experiment).network, optimizer, mesh)


def _batch(experiment: Experiment, rows: int, sharding: NamedSharding | None) -> dict[str, Any]:
    """What a step reads; segment ids, too, where rows are packed."""
    return {
        name + suffix: jax.ShapeDtypeStruct((rows, length), jnp.int32, sharding=sharding)
        for name, length in experiment.task_feature_lengths.items()
        for suffix in (("", "_segment_ids") if experiment.pack else ("",))
    }


def _held_bytes(shapes: Any) -> int:
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(shapes)
    )


def _activation_bytes(experiment: Experiment, layout: Layout, mesh: Mesh) -> int:
    """The arrays that the backward pass closes over, each spread as its axes are."""
    network, copies = layout.applied(experiment).network, mesh.shape[partitioning.DATA]
    rows = max(1, experiment.batch_size // copies // layout.microbatches)
    batch = _batch(experiment, rows, None)
    loss_sums = make_loss_sums(
        network, z_loss=experiment.z_loss, label_smoothing=experiment.label_smoothing
    )

    def backward(params: Any, batch: Any) -> Any:
        key = jax.random.key(0) if network.dropout_rate > 0 else None
        return jax.vjp(lambda params: loss_sums(params, batch, key).loss, params)[1]

    params = network.params_shape()
    kept = jax.tree.leaves(jax.eval_shape(backward, params, batch))
    width = params["token_embedder"]["embedding"].shape[1]
    spread = partitioning.spread_sizes(params) - {width}
    own = {(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(params)}
    total = 0
    for leaf in kept:
        if (leaf.shape, leaf.dtype) in own:
            continue  # a parameter itself, which is counted as such
        is_weight = leaf.ndim == 3 and leaf.shape[1] == leaf.shape[2]  # cast kernels, D x D
        divided = is_weight or not spread.isdisjoint(leaf.shape)
        parts = layout.num_partitions if divided else 1
        total += math.prod(leaf.shape) * leaf.dtype.itemsize // parts
    return total
