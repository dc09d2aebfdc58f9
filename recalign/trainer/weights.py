"""Start weights of a run."""

from typing import Any

import jax

from recalign.data.prepared import PreparedDataset
from recalign.errors import UserError
from recalign.trainer.experiment import Experiment
from recalign.trainer.partitioning import state_shardings
from recalign.trainer.start_values import with_item_knowledge
from recalign.trainer.state import params_shape, random_params
from recalign.weights import load_params


def start_weights(
    experiment: Experiment, dataset: PreparedDataset | None, mesh: jax.sharding.Mesh
) -> tuple[Any, int]:
    """(parameters, step at which fine-tuning begins) as INITIAL_CHECKPOINT_PATH asks.

    Empty: random weights, with what ITEM_VECTORS asks to be known of the dataset's items. Else a
    checkpoint of any format that `recalign.weights` reads; of a run, the best. The step is the
    checkpoint's, or INITIAL_STEP where it has none (Hugging Face). The optimizer always starts
    afresh.
    """
    path = experiment.initial_checkpoint_path
    if not path:
        params = random_params(experiment.config, experiment.seed, mesh)
        if shares := experiment.item_vectors:
            if dataset is None:
                raise UserError(f"ITEM_VECTORS = {dict(shares)}: no task has a prepared dataset")
            params = with_item_knowledge(
                params, experiment.config, dataset, shares, experiment.seed
            )
        return params, experiment.initial_step
    if not isinstance(path, str):
        raise UserError(f"INITIAL_CHECKPOINT_PATH = {path!r}: one path, or () for random weights")
    shardings = state_shardings(mesh, params_shape(experiment.config))
    params, step = load_params(path, experiment.config, shardings)
    return params, step or experiment.initial_step
