"""T5X's Adafactor as an Optax gradient transformation, and Optax's AdamW for small models.

Optax has an Adafactor of its own. It cannot be used here, because it treats a stack of scanned
layers as one tensor: it would factor over the layer axis, and share one scale and one clipping
threshold among all layers. T5X's unstacked layers are updated each by itself, and so are ours.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from recalign.model.names import decays
from recalign.trainer.partitioning import is_stacked, path_names
from recalign.trainer.schedule import Schedule
from recalign.weights.inspection import factored_axes, moments_of

# T5X's defaults. The second moments decay with 1 - (steps + 1)^-0.8; an update's root mean square
# is brought down to 1; the epsilons are added to squared gradients, and the least root mean square
# that a parameter is taken to have.
_DECAY_RATE, _CLIPPING_THRESHOLD, _EPSILON1, _EPSILON2 = 0.8, 1.0, 1e-30, 1e-3


class AdafactorState(NamedTuple):
    """Second moments: `v_row` and `v_col` where a tensor is factored, else `v`.

    What a tensor does not use is a placeholder of shape (1,), as in T5X's train state.
    """

    step: Int[Array, ""]
    v_row: Any
    v_col: Any
    v: Any


def adafactor(learning_rate: Schedule, step_offset: int = 0) -> optax.GradientTransformation:
    """Adafactor (https://arxiv.org/abs/1804.04235) with T5X's choices: no momentum, no decay.

    The moments start afresh at `step_offset`, where fine-tuning began; the rate of a step is
    relative to a parameter's root mean square.
    """

    def layer_init(parameter: Array) -> list[Array]:
        return [jnp.zeros(shape, jnp.float32) for shape in moments_of(parameter.shape)]

    def layer_update(
        step: Array, gradient: Array, parameter: Array, v_row: Array, v_col: Array, v: Array
    ) -> tuple[Array, Array, Array, Array]:
        gradient = gradient.astype(jnp.float32)
        age = jnp.asarray(step - step_offset, jnp.float32) + 1.0
        decay = 1.0 - age**-_DECAY_RATE
        squared = gradient * gradient + _EPSILON1
        axes = factored_axes(parameter.shape)
        if axes is None:
            v = decay * v + (1.0 - decay) * squared
            update = gradient * v**-0.5
        else:
            row_axis, column_axis = axes
            v_row = decay * v_row + (1.0 - decay) * jnp.mean(squared, axis=column_axis)
            v_col = decay * v_col + (1.0 - decay) * jnp.mean(squared, axis=row_axis)
            row_axis_in_v_row = row_axis - (column_axis < row_axis)
            row_mean = jnp.mean(v_row, axis=row_axis_in_v_row, keepdims=True)
            row_factor = jnp.expand_dims((v_row / row_mean) ** -0.5, column_axis)
            column_factor = jnp.expand_dims(v_col**-0.5, row_axis)
            update = gradient * row_factor * column_factor
        update /= jnp.maximum(1.0, _root_mean_square(update) / _CLIPPING_THRESHOLD)
        scale = jnp.maximum(_root_mean_square(parameter), _EPSILON2)
        update = -(learning_rate(step) * scale) * update
        return update.astype(parameter.dtype), v_row, v_col, v

    def init(params: optax.Params) -> AdafactorState:
        paths, leaves, treedef = _with_paths(params)
        states = [
            (jax.vmap(layer_init) if is_stacked(path) else layer_init)(leaf)
            for path, leaf in zip(paths, leaves, strict=True)
        ]
        v_row, v_col, v = (
            jax.tree.unflatten(treedef, [state[part] for state in states]) for part in range(3)
        )
        return AdafactorState(jnp.zeros((), jnp.int32), v_row, v_col, v)

    def update(
        gradients: optax.Updates, state: AdafactorState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, AdafactorState]:
        if params is None:
            raise ValueError("Adafactor scales its updates by the parameters: pass params")
        paths, leaves, treedef = _with_paths(params)
        columns = [jax.tree.leaves(tree) for tree in (gradients, *state[1:])]
        outcomes = []
        for path, leaf, gradient, *moments in zip(paths, leaves, *columns, strict=True):
            rule = layer_update
            if is_stacked(path):
                rule = jax.vmap(layer_update, in_axes=(None, 0, 0, 0, 0, 0))
            outcomes.append(rule(state.step, gradient, leaf, *moments))
        updates, v_row, v_col, v = (
            jax.tree.unflatten(treedef, [outcome[part] for outcome in outcomes])
            for part in range(4)
        )
        return updates, AdafactorState(state.step + 1, v_row, v_col, v)

    return optax.GradientTransformation(init, update)


def _root_mean_square(tensor: Array) -> Array:
    return jnp.sqrt(jnp.mean(tensor * tensor))


def _with_paths(params: optax.Params) -> tuple[list[tuple[str, ...]], list[Array], Any]:
    leaves_with_path, treedef = jax.tree_util.tree_flatten_with_path(params)
    paths = [path_names(path) for path, _ in leaves_with_path]
    return paths, [leaf for _, leaf in leaves_with_path], treedef


class AdamState(NamedTuple):
    """First and second moments, each a tree like the parameters."""

    step: Int[Array, ""]
    mu: Any
    nu: Any


def adamw(
    learning_rate: Schedule,
    first_step: int = 0,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """Optax's AdamW (Loshchilov and Hutter, arXiv 1711.05101); its step counts as the run does.

    The moments were zero at `first_step`. `weight_decay` is the share of each parameter that is
    taken off a step, times the learning rate; scales of norms keep theirs.
    """
    moments = optax.scale_by_adam(beta1, beta2, epsilon)
    decay = optax.add_decayed_weights(weight_decay, mask=decays)

    def init(params: optax.Params) -> AdamState:
        zeros = moments.init(params)
        return AdamState(jnp.asarray(first_step, jnp.int32), zeros.mu, zeros.nu)

    def update(
        gradients: optax.Updates, state: AdamState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, AdamState]:
        count = state.step - first_step
        updates, new = moments.update(
            gradients, optax.ScaleByAdamState(count, state.mu, state.nu), params
        )
        updates, _ = decay.update(updates, decay.init(params), params)
        rate = learning_rate(state.step)
        updates = jax.tree.map(lambda update: -rate * update, updates)
        return updates, AdamState(state.step + 1, new.mu, new.nu)

    return optax.GradientTransformation(init, update)
