"""Start weights of a run."""

from typing import Any

import jax
from etils import epath

from recalign.errors import UserError
from recalign.trainer.checkpoints import FOLDER, Checkpoints
from recalign.trainer.experiment import Experiment
from recalign.trainer.state import random_params, sharded_params_shape


def start_weights(experiment: Experiment, mesh: jax.sharding.Mesh) -> tuple[Any, int]:
    """(parameters, step at which fine-tuning begins) as INITIAL_CHECKPOINT_PATH asks.

    Empty: random weights. A run's MODEL_DIR: its best checkpoint; MODEL_DIR/checkpoints/STEP: that
    one. The optimizer always starts afresh.
    """
    path = experiment.initial_checkpoint_path
    if not path:
        return random_params(experiment.config, experiment.seed, mesh), experiment.initial_step
    if not isinstance(path, str):
        raise UserError(f"INITIAL_CHECKPOINT_PATH = {path!r}: one path, or () for random weights")
    model_dir, which = _own_run(epath.Path(path))
    checkpoints = Checkpoints(model_dir, read_only=True)
    try:
        step, params = checkpoints.restore_params(
            which, sharded_params_shape(experiment.config, mesh)
        )
    finally:
        checkpoints.close()
    return params, step


def _own_run(path: epath.Path) -> tuple[epath.Path, str | int]:
    if (path / FOLDER).is_dir():
        return path, "best"
    if path.parent.name == FOLDER and path.name.isdigit() and path.is_dir():
        return path.parent.parent, int(path.name)
    if path.as_posix().startswith("gs://") or (path / "checkpoint").exists():
        raise UserError(
            f"INITIAL_CHECKPOINT_PATH = {str(path)!r}: T5X's checkpoints cannot be read yet; start "
            "from a run of recalign, or from random weights: --gin.INITIAL_CHECKPOINT_PATH='()'"
        )
    raise UserError(
        f"INITIAL_CHECKPOINT_PATH = {str(path)!r}: neither a run of recalign (a MODEL_DIR) nor one "
        "of its checkpoints (MODEL_DIR/checkpoints/STEP); other formats cannot be read yet"
    )
