"""The train state, the loss (T5X's cross entropy with z-loss), and the one step that changes it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from recalign.model.network import Network
from recalign.trainer.optimizer import AdafactorState, AdamState
from recalign.trainer.partitioning import DATA, state_shardings

Batch = Mapping[str, Int[Array, "B L"]]
# What LOSS_NORMALIZING_FACTOR may be besides None and a number (T5X's names).
NORMALIZERS = ("NUM_REAL_TARGET_TOKENS", "NUM_TOTAL_TARGET_TOKENS")


class LossParts(NamedTuple):
    """Sums over the target tokens of a batch, padding left out."""

    loss: Float[Array, ""]
    z_loss: Float[Array, ""]
    correct: Float[Array, ""]
    tokens: Float[Array, ""]


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


def sharded_params_shape(network: Network, mesh: Mesh) -> Any:
    """The parameters as shapes with shardings, which a checkpoint is read into."""
    return with_shardings(network.params_shape(), mesh)


def with_shardings(shapes: Any, mesh: Mesh) -> Any:
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        state_shardings(mesh, shapes),
    )


def state_shape(
    network: Network, optimizer: optax.GradientTransformation, mesh: Mesh
) -> TrainState:
    """The train state as shapes with shardings, which a checkpoint is read into."""

    def build() -> TrainState:
        params = network.init(jax.random.key(0))
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


def random_params(network: Network, seed: int, mesh: Mesh) -> Any:
    """Start weights, each made where it lives: no device ever holds them all."""
    shardings = state_shardings(mesh, network.params_shape())
    return jax.jit(lambda: network.init(jax.random.key(seed)), out_shardings=shardings)()


def cross_entropy(
    logits_BxTxV: Float[Array, "B T V"],
    targets_BxT: Int[Array, "B T"],
    z_loss: float = 0.0,
    label_smoothing: float = 0.0,
) -> LossParts:
    """Cross entropy plus `z_loss * log(Z)^2`, where Z is the softmax's normaliser.

    The z-loss keeps logits from drifting away from zero (T5X: `losses.py`). With label smoothing
    the entropy of the smoothed target is taken off, so that a perfect prediction costs nothing.
    """
    logits_BxTxV = logits_BxTxV.astype(jnp.float32)
    vocabulary_size = logits_BxTxV.shape[-1]
    log_normalizer_BxT = jax.nn.logsumexp(logits_BxTxV, axis=-1)
    target_logits_BxT = jnp.take_along_axis(logits_BxTxV, targets_BxT[..., None], axis=-1)[..., 0]
    loss_BxT = log_normalizer_BxT - target_logits_BxT
    if label_smoothing > 0.0:
        confidence = 1.0 - label_smoothing
        other = label_smoothing / (vocabulary_size - 1)
        all_losses_BxT = vocabulary_size * log_normalizer_BxT - jnp.sum(logits_BxTxV, axis=-1)
        entropy = -(
            confidence * jnp.log(confidence)
            + (vocabulary_size - 1) * other * jnp.log(other + 1e-20)
        )
        loss_BxT = (confidence - other) * loss_BxT + other * all_losses_BxT - entropy
    z_loss_BxT = z_loss * jnp.square(log_normalizer_BxT)
    weights_BxT = (targets_BxT > 0).astype(jnp.float32)
    correct_BxT = jnp.argmax(logits_BxTxV, axis=-1) == targets_BxT
    return LossParts(
        loss=jnp.sum((loss_BxT + z_loss_BxT) * weights_BxT),
        z_loss=jnp.sum(z_loss_BxT * weights_BxT),
        correct=jnp.sum(correct_BxT * weights_BxT),
        tokens=jnp.sum(weights_BxT),
    )


def normalizer(
    factor: float | str | None, targets_BxT: Int[Array, "B T"]
) -> Float[Array, ""] | float:
    """What the summed loss of a batch is divided by (T5X: LOSS_NORMALIZING_FACTOR).

    None, T5X's default, divides by nothing: Adafactor's updates do not depend on the loss's scale.
    """
    if factor is None:
        return 1.0
    if factor == "NUM_REAL_TARGET_TOKENS":
        return jnp.maximum(jnp.sum(targets_BxT > 0), 1).astype(jnp.float32)
    if factor == "NUM_TOTAL_TARGET_TOKENS":
        return float(targets_BxT.size)
    return float(factor)


def make_loss_sums(
    network: Network, *, z_loss: float = 0.0, label_smoothing: float = 0.0
) -> Callable[[Any, Batch, Array | None], LossParts]:
    """(parameters, batch, dropout key or None) -> sums over the batch's target tokens.

    A packed batch has `inputs_segment_ids` and `targets_segment_ids` beside its tokens.
    """

    def loss_sums(params: Any, batch: Batch, dropout_key: Array | None) -> LossParts:
        logits = network.logits(params, batch, dropout_key)
        return cross_entropy(logits, batch["targets"], z_loss, label_smoothing)

    return loss_sums


def make_train_step(
    network: Network,
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
    loss_sums = make_loss_sums(network, z_loss=z_loss, label_smoothing=label_smoothing)
    dropout_root = jax.random.fold_in(jax.random.key(seed), 1)
    uses_dropout = network.dropout_rate > 0

    def gradients(params: Any, batch: Batch, key: Array, divisor: Any) -> tuple[Any, LossParts]:
        def objective(params: Any) -> tuple[Array, LossParts]:
            parts = loss_sums(params, batch, key if uses_dropout else None)
            return parts.loss / divisor, parts

        return jax.grad(objective, has_aux=True)(params)

    def accumulated(params: Any, batch: Batch, key: Array, divisor: Any) -> tuple[Any, LossParts]:
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
