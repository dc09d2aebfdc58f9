"""The optimizer of an experiment's name, as T5X takes it: what `recalign.trainer` has under it."""

from collections.abc import Callable

import jax
from t5x import optimizers

from recalign.errors import UserError
from recalign.model.names import decays


def named(
    name: str,
    adafactor: optimizers.OptimizerDef,
    schedule: Callable[[jax.Array], jax.Array],
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
) -> optimizers.OptimizerDef:
    """T5X's Adafactor, or Optax's AdamW as T5X wraps it.

    T5X hands no learning rate to a wrapped optimizer, so AdamW asks the schedule itself, by the
    number of its own steps: a run from random weights counts them from 0 too.
    """
    if name == "adafactor":
        return adafactor
    if name != "adamw":
        raise UserError(f"OPTIMIZER_NAME = {name!r} must be adafactor or adamw")
    return optimizers.adamw(
        schedule, b1=beta1, b2=beta2, eps=epsilon, weight_decay=weight_decay, mask=decays
    )
