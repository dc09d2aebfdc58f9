"""An optimizer for tests that have no experiment."""

import optax

from recalign.trainer.optimizer import adafactor
from recalign.trainer.schedule import make_schedule


def make_optimizer(
    learning_rate: float, warmup_steps: int, first_step: int
) -> optax.GradientTransformation:
    """Adafactor whose warm-up and second moments begin at `first_step`."""
    schedule = make_schedule(learning_rate, warmup_steps, first_step)
    return adafactor(schedule, first_step)
