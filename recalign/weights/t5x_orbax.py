"""T5X's Orbax layout: the train state is one tree of arrays, in `checkpoint_N/state`."""

import pathlib
from collections.abc import Callable

from etils import epath

from recalign.errors import UserError
from recalign.model.t5.config import T5Config
from recalign.weights import orbax_tree, t5x_state
from recalign.weights.tensors import Weights

STATE = "state"


def detect(folder: epath.Path) -> bool:
    return any(orbax_tree.detect(place) for place in (folder / STATE, folder))


def open_weights(folder: epath.Path) -> Weights:
    """The weights, and the optimizer's state where there is one."""
    place = folder / STATE if orbax_tree.detect(folder / STATE) else folder
    tensors = orbax_tree.open_tree(place)
    weights = t5x_state.split(str(folder), tensors)
    if not weights.params:
        raise UserError(f"{folder}: not a checkpoint of T5X: its tree has no 'target'")
    return weights


def write(weights: Weights, config: T5Config, folder: pathlib.Path, done: Callable) -> None:
    """A checkpoint as T5X's `OrbaxCheckpointManagerInterface` writes it."""
    tree = orbax_tree.Writer(folder / STATE)
    for name, tensor in t5x_state.tensors(weights, config).items():
        if not tensor.shape:
            tree.write_step(name, int(tensor.whole()))
            continue
        tree.begin(name, tensor.shape)
        array = tensor.whole()
        tree.write(array)
        done(array.nbytes)
    tree.close()
    orbax_tree.write_step_metadata(epath.Path(folder), {STATE: orbax_tree.PYTREE_HANDLER})
