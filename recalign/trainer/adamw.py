"""AdamW, Optax's own, for small models from random weights: Adafactor stays for fine-tuning."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from recalign.model.names import decays
from recalign.trainer.schedule import Schedule


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

    Args:
      learning_rate: step -> rate.
      first_step: the step at which training began, when the moments were zero.
      beta1, beta2: how much of the first and second moments stays at each step.
      epsilon: added to the root of the second moment.
      weight_decay: share of each parameter that is taken off a step, times the learning rate;
        scales of norms keep theirs.
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
