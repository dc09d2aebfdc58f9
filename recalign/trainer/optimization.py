"""The train step, the optimizer and the learning rate that an experiment asks for."""

import jax
import optax

from recalign.trainer.experiment import Experiment
from recalign.trainer.optimizer import adafactor, adamw
from recalign.trainer.schedule import Schedule, make_schedule
from recalign.trainer.state import make_train_step


def schedule_of(experiment: Experiment, first_step: int) -> Schedule:
    """Step -> learning rate, where training begins at `first_step`."""
    return make_schedule(
        experiment.learning_rate,
        experiment.warmup_steps,
        first_step,
        factors=experiment.learning_rate_factors,
        decay_factor=experiment.decay_factor,
        steps_per_cycle=experiment.steps_per_cycle or experiment.train_steps,
    )


def optimizer_of(experiment: Experiment, first_step: int) -> optax.GradientTransformation:
    """The optimizer, whose warm-up and moments begin at `first_step`."""
    schedule = schedule_of(experiment, first_step)
    if experiment.optimizer_name == "adafactor":
        return adafactor(schedule, first_step)
    return adamw(
        schedule,
        first_step,
        beta1=experiment.adam_beta1,
        beta2=experiment.adam_beta2,
        epsilon=experiment.adam_epsilon,
        weight_decay=experiment.weight_decay,
    )


def train_step_of(
    experiment: Experiment, first_step: int, mesh: jax.sharding.Mesh
) -> jax.stages.Wrapped:
    """The train step, jitted, of a run that begins at `first_step`."""
    return make_train_step(
        experiment.network,
        optimizer_of(experiment, first_step),
        mesh,
        seed=experiment.seed,
        microbatches=experiment.microbatches or 1,
        log_period=experiment.log_period,
        z_loss=experiment.z_loss,
        label_smoothing=experiment.label_smoothing,
        loss_normalizing_factor=experiment.loss_normalizing_factor,
    )
