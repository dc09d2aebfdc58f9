"""T5X's train state: what both of its layouts hold, by flat names.

target/<parameter>, state/param_states/<parameter>/{m,v,v_row,v_col}, state/step
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath
from flax import serialization

from recalign.errors import UserError, shown
from recalign.model.t5.config import T5Config
from recalign.weights import inspection
from recalign.weights.tensors import Tensor, Weights, from_array, zeros

_PARAMS, _MOMENTS, _STEP = "target/", "state/param_states/", "state/step"


def read_msgpack(path: epath.Path) -> Mapping[str, Any]:
    """The tree in a checkpoint's msgpack file."""
    raw = path.read_bytes()
    if raw.startswith(b"model_checkpoint_path"):
        raise UserError(f"{path}: a TensorFlow checkpoint; import it with T5X first")
    try:
        contents = serialization.msgpack_restore(raw)
    except Exception as error:
        # msgpack has many kinds of error of no common kind for a damaged file.
        said = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise UserError(f"{path}: damaged, or not a checkpoint: {said}") from error
    if not isinstance(contents, Mapping):
        raise UserError(f"{path}: not a checkpoint of T5X")
    return contents


def inline(where: str, name: str, leaf: Any) -> Tensor:
    """An array or a number that lies in the msgpack file itself; anything else is refused."""
    if not isinstance(leaf, np.ndarray | np.generic | int | float):
        raise UserError(f"{where}: {shown(name)} is {shown(leaf)} and no array")
    return from_array(np.asarray(leaf))


def split(where: str, tensors: Mapping[str, Tensor]) -> Weights:
    """A T5X train state by flat names -> parameters, moments and step."""
    momentum = [
        name for name, tensor in tensors.items() if name.endswith("/m") and tensor.shape != (1,)
    ]
    return Weights(
        where,
        params=_below(_PARAMS, tensors),
        # A placeholder for the momentum that T5 1.1 is trained without.
        moments={
            name: tensor
            for name, tensor in _below(_MOMENTS, tensors).items()
            if momentum or not name.endswith("/m")
        },
        step=_step(where, tensors),
    )


def _step(where: str, tensors: Mapping[str, Tensor]) -> int | None:
    if (tensor := tensors.get(_STEP)) is None:
        return None
    if tensor.shape != () or tensor.dtype.kind not in "iu":
        raise UserError(f"{where}: {_STEP} is no step but {tensor.dtype}, {list(tensor.shape)[:4]}")
    if not 0 <= (step := int(tensor.whole())) < 2**31:
        raise UserError(f"{where}: {_STEP} is {step}")
    return step


def tensors(weights: Weights, config: T5Config) -> dict[str, Tensor]:
    """T5X's train state by flat names; T5X restores none that lacks the optimizer's state."""
    moments = weights.moments or inspection.no_moments(config)
    unused = {f"{name}/m": zeros((1,)) for name in weights.params}
    return {
        **{_PARAMS + name: tensor for name, tensor in weights.params.items()},
        **{_MOMENTS + name: tensor for name, tensor in {**moments, **unused}.items()},
        _STEP: from_array(np.asarray(weights.step or 0, np.int32)),
    }


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
