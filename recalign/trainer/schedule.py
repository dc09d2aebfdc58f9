"""The learning rate of each step, in T5X's terms: a product of named factors."""

import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from recalign.errors import UserError

Schedule = Callable[[Int[Array, ""] | np.integer], Float[Array, ""]]

CONSTANT_AFTER_WARM_UP = "constant * linear_warmup"
"""The paper's: linear over WARMUP_STEPS, then constant."""

# T5X never lets the rate reach zero (`create_learning_rate_scheduler`).
_SMALLEST_LEARNING_RATE = 1e-8


def make_schedule(
    learning_rate: float,
    warmup_steps: int,
    first_step: int = 0,
    *,
    factors: str = CONSTANT_AFTER_WARM_UP,
    decay_factor: float = 0.0,
    steps_per_cycle: int = 1,
) -> Schedule:
    """T5X's `create_learning_rate_scheduler`: step -> learning rate, a product of factors.

    Steps count from `first_step`, at which training began. The first one has a rate of (almost)
    zero under `linear_warmup`, there and here. The factors, with `*` between them:

      constant: the learning rate;
      linear_warmup: 0 to 1 over `warmup_steps`, after which decay begins;
      linear_decay: learning rate, warm-up and then a fall of `decay_factor` of it a step: all three
        in one, so it stands alone;
      rsqrt_decay, rsqrt_normalized_decay: 1 / sqrt(steps), and that with 1 at the warm-up's end;
      cosine_decay: half a cosine over `steps_per_cycle` after the warm-up, then again from 1.
    """

    def linear_warmup(steps: Array) -> Array:
        return jnp.minimum(1.0, steps / warmup_steps) if warmup_steps > 0 else jnp.ones(())

    def linear_decay(steps: Array) -> Array:
        decayed = 1.0 - decay_factor * (steps - warmup_steps)
        return learning_rate * jnp.minimum(linear_warmup(steps), decayed)

    def rsqrt_decay(steps: Array) -> Array:
        return 1.0 / jnp.sqrt(jnp.maximum(steps, max(1, warmup_steps)))

    def cosine_decay(steps: Array) -> Array:
        cycles = jnp.maximum(0.0, (steps - warmup_steps) / steps_per_cycle)
        return 0.5 * (1.0 + jnp.cos(jnp.pi * (cycles % 1.0)))

    known = {
        "constant": lambda steps: jnp.asarray(learning_rate),
        "linear_warmup": linear_warmup,
        "linear_decay": linear_decay,
        "rsqrt_decay": rsqrt_decay,
        "rsqrt_normalized_decay": lambda steps: (
            math.sqrt(max(1, warmup_steps)) * rsqrt_decay(steps)
        ),
        "cosine_decay": cosine_decay,
    }
    names = [name.strip() for name in factors.split("*")]
    if unknown := [name for name in names if name not in known]:
        raise UserError(
            f"LEARNING_RATE_FACTORS = {factors!r}: no factor {unknown[0]!r}; there are "
            f"{', '.join(known)}, with * between them"
        )
    if "linear_decay" in names and len(names) > 1:
        raise UserError(
            f"LEARNING_RATE_FACTORS = {factors!r}: linear_decay holds rate and warm-up: alone, or"
            " another decay"
        )

    def schedule(step: Int[Array, ""] | np.integer) -> Float[Array, ""]:
        steps = jnp.maximum(step - first_step, 0).astype(jnp.float32)
        rate = math.prod((known[name](steps) for name in names), start=jnp.ones(()))
        return jnp.maximum(rate, _SMALLEST_LEARNING_RATE)

    return schedule
