"""Start weights of a run."""

from typing import Any

import jax

from recalign.data.prepared import PreparedDataset
from recalign.errors import UserError
from recalign.model.t5.config import T5Config
from recalign.trainer.experiment import Experiment
from recalign.trainer.partitioning import state_shardings
from recalign.trainer.start_values import with_item_knowledge
from recalign.trainer.state import random_params
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
        params = random_params(experiment.network, experiment.seed, mesh)
        if shares := experiment.item_vectors:
            network = experiment.network
            if not isinstance(network, T5Config):
                raise UserError(
                    f"ITEM_VECTORS = {dict(shares)}: it needs T5 (Experiment.model = @T5Config())"
                )
            if dataset is None:
                raise UserError(
                    f"ITEM_VECTORS = {dict(shares)}: it needs a task with a prepared dataset"
                )
            params = with_item_knowledge(params, network, dataset, shares, experiment.seed)
        return params, experiment.initial_step
    if not isinstance(path, str):
        raise UserError(f"INITIAL_CHECKPOINT_PATH = {path!r}: one path, or () for random weights")
    shardings = state_shardings(mesh, experiment.network.params_shape())
    params, step = load_params(path, experiment.network, shardings)
    return params, step or experiment.initial_step
