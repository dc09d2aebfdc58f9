"""Start weights of a run."""

from typing import Any

import jax

from recalign.errors import UserError
from recalign.trainer.experiment import Experiment
from recalign.trainer.partitioning import state_shardings
from recalign.trainer.state import params_shape, random_params
from recalign.weights import load_params


def start_weights(experiment: Experiment, mesh: jax.sharding.Mesh) -> tuple[Any, int]:
    """(parameters, step at which fine-tuning begins) as INITIAL_CHECKPOINT_PATH asks.

    Empty: random weights. Else a checkpoint of any format that `recalign.weights` reads; of a run,
    the best. The step is the checkpoint's, or INITIAL_STEP where it has none (Hugging Face). The
    optimizer always starts afresh.
    """
    path = experiment.initial_checkpoint_path
    if not path:
        return random_params(experiment.config, experiment.seed, mesh), experiment.initial_step
    if not isinstance(path, str):
        raise UserError(f"INITIAL_CHECKPOINT_PATH = {path!r}: one path, or () for random weights")
    shardings = state_shardings(mesh, params_shape(experiment.config))
    params, step = load_params(path, experiment.config, shardings)
    return params, step or experiment.initial_step
