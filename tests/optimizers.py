"""An optimizer and a train step for tests that have no experiment."""

from typing import Any

import jax
import optax

from recalign.trainer.optimizer import adafactor
from recalign.trainer.schedule import make_schedule
from recalign.trainer.state import make_train_step


def make_optimizer(
    learning_rate: float, warmup_steps: int, first_step: int
) -> optax.GradientTransformation:
    """Adafactor whose warm-up and second moments begin at `first_step`."""
    schedule = make_schedule(learning_rate, warmup_steps, first_step)
    return adafactor(schedule, first_step)


def train_step_of(
    config: Any, optimizer: optax.GradientTransformation, mesh: jax.sharding.Mesh, **changes: Any
) -> jax.stages.Wrapped:
    """`make_train_step`, whose other arguments are these unless they are given."""
    plain = {
        "seed": 0, "microbatches": 1, "log_period": 100, "z_loss": 1e-4, "label_smoothing": 0.0,
        "loss_normalizing_factor": None,
    }  # fmt: skip
    return make_train_step(config, optimizer, mesh, **{**plain, **changes})
