"""The train state and the one step that changes it."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Int

from recalign.model.config import T5Config
from recalign.model.network import Transformer
from recalign.trainer.adamw import AdamState
from recalign.trainer.loss import LossParts, cross_entropy, normalizer
from recalign.trainer.optimizer import AdafactorState, adafactor
from recalign.trainer.partitioning import DATA, is_stacked, state_shardings
from recalign.trainer.schedule import make_schedule

Batch = Mapping[str, Int[Array, "B L"]]


class TrainState(NamedTuple):
    """All that a step changes, and all that a checkpoint holds.

    `window` sums the loss since the last line of metrics. It is part of the state so that a run
    that was stopped in the middle of a window still writes the same lines.
    """

    params: Any
    optimizer: AdafactorState | AdamState
    window: LossParts

    @property
    def step(self) -> Int[Array, ""]:
        return self.optimizer.step


class StepOutcome(NamedTuple):
    """What the loop looks at after a step."""

    parts: LossParts
    window: LossParts


def nothing_yet() -> LossParts:
    return LossParts(*(jnp.zeros((), jnp.float32) for _ in LossParts._fields))


def shift_right(
    targets_BxT: Int[Array, "B T"], segment_ids_BxT: Int[Array, "B T"] | None = None
) -> Int[Array, "B T"]:
    """The decoder's inputs: token 0, then all targets but the last; so each example of a row."""

    def shifted(rows_BxT: Int[Array, "B T"]) -> Int[Array, "B T"]:
        return jnp.pad(rows_BxT[:, :-1], ((0, 0), (1, 0)))

    if segment_ids_BxT is None:
        return shifted(targets_BxT)
    return jnp.where(segment_ids_BxT == shifted(segment_ids_BxT), shifted(targets_BxT), 0)


def make_optimizer(
    learning_rate: float, warmup_steps: int, first_step: int
) -> optax.GradientTransformation:
    """Adafactor whose warm-up and second moments begin at `first_step`."""
    return adafactor(
        make_schedule(learning_rate, warmup_steps, first_step),
        step_offset=first_step,
        is_stacked=is_stacked,
    )


def initial_params(config: T5Config, seed: int) -> Any:
    tokens_1x1 = jnp.ones((1, 1), jnp.int32)
    # Layers in a loop draw what layers one by one would, and compile in less time.
    variables = Transformer(dataclasses.replace(config, unroll_layers=False)).init(
        jax.random.key(seed), tokens_1x1, tokens_1x1, enable_dropout=False
    )
    return variables["params"]


def params_shape(config: T5Config) -> Any:
    """The parameters as shapes, without computing any."""
    return jax.eval_shape(lambda: initial_params(config, 0))


def sharded_params_shape(config: T5Config, mesh: Mesh) -> Any:
    """The parameters as shapes with shardings, which a checkpoint is read into."""
    return with_shardings(params_shape(config), mesh)


def with_shardings(shapes: Any, mesh: Mesh) -> Any:
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        state_shardings(mesh, shapes),
    )


def state_shape(
    config: T5Config, optimizer: optax.GradientTransformation, mesh: Mesh
) -> TrainState:
    """The train state as shapes with shardings, which a checkpoint is read into."""

    def build() -> TrainState:
        params = initial_params(config, 0)
        return TrainState(params, optimizer.init(params), nothing_yet())

    return with_shardings(jax.eval_shape(build), mesh)


def new_state(
    params: Any, optimizer: optax.GradientTransformation, first_step: int, mesh: Mesh
) -> TrainState:
    """The state before the first step of fine-tuning, laid out on the mesh.

    Parameters that lie as the mesh asks are taken as they are, not copied: memory need not hold
    them twice. The first step, which is given the state to overwrite, ends them.
    """

    def build(params: Any) -> tuple[AdafactorState | AdamState, LossParts]:
        moments = optimizer.init(params)._replace(step=jnp.asarray(first_step, jnp.int32))
        return moments, nothing_yet()

    shardings = state_shardings(mesh, jax.eval_shape(build, params))
    moments, window = jax.jit(build, out_shardings=shardings)(params)
    return TrainState(jax.device_put(params, state_shardings(mesh, params)), moments, window)


def random_params(config: T5Config, seed: int, mesh: Mesh) -> Any:
    """Start weights, each made where it lives: no device ever holds them all."""
    shardings = state_shardings(mesh, params_shape(config))
    return jax.jit(lambda: initial_params(config, seed), out_shardings=shardings)()


def make_loss_sums(
    config: T5Config, *, z_loss: float = 0.0, label_smoothing: float = 0.0
) -> Callable[[Any, Batch, Array | None], LossParts]:
    """(parameters, batch, dropout key or None) -> sums over the batch's target tokens.

    A packed batch has `inputs_segment_ids` and `targets_segment_ids` beside its tokens.
    """
    model = Transformer(config)

    def loss_sums(params: Any, batch: Batch, dropout_key: Array | None) -> LossParts:
        logits_BxTxV: Any = model.apply(
            {"params": params},
            batch["inputs"],
            shift_right(batch["targets"], batch.get("targets_segment_ids")),
            batch.get("inputs_segment_ids"),
            batch.get("targets_segment_ids"),
            enable_dropout=dropout_key is not None,
            rngs=None if dropout_key is None else {"dropout": dropout_key},
        )
        return cross_entropy(
            logits_BxTxV, batch["targets"], z_loss=z_loss, label_smoothing=label_smoothing
        )

    return loss_sums


def make_train_step(
    config: T5Config,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    *,
    seed: int,
    microbatches: int,
    log_period: int,
    z_loss: float,
    label_smoothing: float,
    loss_normalizing_factor: float | str | None,
) -> jax.stages.Wrapped:
    """One step, jitted: gradients summed over microbatches, one update, sums for the log.

    The key of step n's dropout is a function of the seed and n, so that a resumed run draws what
    the undisturbed one would have drawn.
    """
    loss_sums = make_loss_sums(config, z_loss=z_loss, label_smoothing=label_smoothing)
    dropout_root = jax.random.fold_in(jax.random.key(seed), 1)
    uses_dropout = config.dropout_rate > 0

    def gradients(
        params: Any, batch: Batch, key: Array, divisor: Array | float
    ) -> tuple[Any, LossParts]:
        def objective(params: Any) -> tuple[Array, LossParts]:
            parts = loss_sums(params, batch, key if uses_dropout else None)
            return parts.loss / divisor, parts

        return jax.grad(objective, has_aux=True)(params)

    def accumulated(
        params: Any, batch: Batch, key: Array, divisor: Array | float
    ) -> tuple[Any, LossParts]:
        if microbatches == 1:
            return gradients(params, batch, key, divisor)

        def split(rows: Array) -> Array:
            # Row b goes to microbatch b % M: each device keeps its own rows.
            parts = rows.reshape(-1, microbatches, *rows.shape[1:]).swapaxes(0, 1)
            return jax.lax.with_sharding_constraint(parts, NamedSharding(mesh, P(None, DATA)))

        def add(total: Any, numbered: tuple[Array, Batch]) -> tuple[Any, None]:
            number, part = numbered
            new = gradients(params, part, jax.random.fold_in(key, number), divisor)
            return jax.tree.map(jnp.add, total, new), None

        zeros = (jax.tree.map(jnp.zeros_like, params), nothing_yet())
        parts = {name: split(rows) for name, rows in batch.items()}
        return jax.lax.scan(add, zeros, (jnp.arange(microbatches), parts))[0]

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, StepOutcome]:
        key = jax.random.fold_in(dropout_root, state.step)
        divisor = normalizer(loss_normalizing_factor, batch["targets"])
        grads, parts = accumulated(state.params, batch, key, divisor)
        updates, moments = optimizer.update(grads, state.optimizer, state.params)
        window = jax.tree.map(
            lambda total, new: jnp.where(state.step % log_period == 0, 0.0, total) + new,
            state.window,
            parts,
        )
        params = optax.apply_updates(state.params, updates)
        return TrainState(params, moments, window), StepOutcome(parts, window)

    return jax.jit(train_step, donate_argnums=0)
