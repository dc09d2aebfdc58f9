"""The own checkpoints: a run's `checkpoints/STEP` with stacked layers (`recalign.trainer`).

MODEL_DIR/checkpoints/STEP/params   a tree of the parameters
MODEL_DIR/checkpoints/STEP/rest     a tree of the optimizer's state and the log's running sums
MODEL_DIR/checkpoints/STEP/info     JSON: where fine-tuning began, fingerprints, what the best is
                                    chosen by, how many lines metrics.jsonl had, which run saved
                                    it (`data.origins.RUN`), and a digest
"""

import json
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from etils import epath

from recalign.data import integrity, origins
from recalign.errors import UserError
from recalign.model.t5.config import T5Config
from recalign.weights import fingerprints, inspection, orbax_tree
from recalign.weights.tensors import MOMENTS, Tensor, Weights, place, stacks, unstacked

FOLDER = "checkpoints"
_PARAMS, _REST, _INFO = "params", "rest", "info"
SELECTION = "selection"
"""What the best checkpoint of a run is chosen by, among its metrics and in its info."""
# The trainer's sums over a window of steps, which a conversion begins anew.
_WINDOW = ("loss", "z_loss", "correct", "tokens")


def detect(path: epath.Path) -> bool:
    """Whether the path is a run, or one of its checkpoints."""
    return (path / FOLDER).is_dir() or (path.name.isdecimal() and (path / _PARAMS).is_dir())


def locate(path: epath.Path) -> epath.Path:
    """A run or one of its checkpoints -> the folder of a checkpoint: of a run, the best."""
    if not (path / FOLDER).is_dir():
        return path
    steps = {int(it.name): it for it in (path / FOLDER).iterdir() if it.name.isdecimal()}
    if not steps:
        raise UserError(f"{path}: its {FOLDER} hold no whole checkpoint")
    return steps[best({step: score(folder) for step, folder in steps.items()})]


def best(scores: Mapping[int, float | None]) -> int:
    """The step of the highest score, the newest of equals; the newest where none has a score."""

    def rank(step: int) -> tuple[float, int]:
        score = scores[step]
        return -math.inf if score is None else score, step

    return max(scores, key=rank)


def open_weights(folder: epath.Path) -> Weights:
    """The weights and the optimizer's state of one checkpoint, which has to be the run's own."""
    info = read_info(folder)
    if folder.parent.name == FOLDER:
        origins.check_own(folder.parent.parent, folder.name, info)
    params = _layers(orbax_tree.open_tree(folder / _PARAMS))
    rest = orbax_tree.open_tree(folder / _REST) if (folder / _REST).is_dir() else {}
    moments = {
        f"{name.removeprefix(prefix)}/{moment}": tensor
        for moment in MOMENTS
        for name, tensor in rest.items()
        if name.startswith(prefix := f"optimizer/{moment}/")
    }
    return Weights(
        str(folder),
        params,
        _layers(moments),
        step=int(folder.name),
        first_step=int(info["first_step"]) if "first_step" in info else None,
    )


def verify(folder: epath.Path) -> None:
    """Reads all parameters, stack by stack; UserError where they are not what was written."""

    def found() -> str:
        params = open_weights(folder).params
        sums = {
            stack: fingerprints.added(
                _sums_of_layer(params[name].whole(), layer) for layer, name in enumerate(names)
            )
            for stack, names in stacks(params).items()
        }
        return fingerprints.joined(sums[name] for name in fingerprints.in_tree_order(sums))

    check_fingerprint(folder, found)


def _sums_of_layer(array: np.ndarray, layer: int) -> fingerprints.Sums:
    """Of what stands at a layer's place in its stack; an array that is in none is layer 0."""
    return fingerprints.sums_of(array, layer * array.size)


def check_fingerprint(folder: epath.Path, find: Callable[[], str]) -> None:
    """UserError where the checkpoint's parameters have a fingerprint, and another is found."""
    expected = read_info(folder).get("fingerprints", {}).get(_PARAMS)
    if expected is None:
        return
    fingerprints.check_version(expected, str(folder))
    if find() != expected:
        raise UserError(f"{folder}: damaged: its parameters are not what was written")


def write(weights: Weights, config: T5Config, folder: pathlib.Path, done: Callable) -> None:
    """A run's MODEL_DIR with one checkpoint, from which the trainer goes on."""
    step = weights.step or 0
    target = folder / FOLDER / str(step)
    moments = weights.moments or inspection.no_moments(config)
    tree = orbax_tree.Writer(target / _PARAMS)
    sums = {_PARAMS: fingerprints.joined(_write_stacks(tree, weights.params, done))}
    tree.close()

    tree = orbax_tree.Writer(target / _REST)
    tree.create_empty("params")
    tree.write_step("optimizer/step", step)
    rest = [fingerprints.sums_of(np.asarray(step, np.int32))]
    for moment in MOMENTS:
        of_kind = {
            f"optimizer/{moment}/{name.removesuffix(f'/{moment}')}": tensor
            for name, tensor in moments.items()
            if name.endswith(f"/{moment}")
        }
        rest += _write_stacks(tree, of_kind, done)
    nothing = np.zeros((), np.float32)
    for name in _WINDOW:
        tree.begin(f"window/{name}", ())
        tree.write(nothing)
        rest.append(fingerprints.sums_of(nothing))
    sums[_REST] = fingerprints.joined(rest)
    tree.close()

    first_step = weights.first_step
    if first_step is None:
        # Moments that exist go on as T5X's do by default; new ones begin here.
        first_step = 0 if weights.moments else step
    (target / _INFO).mkdir()
    (target / _INFO / "metadata").write_text(
        json.dumps(integrity.sealed({"first_step": first_step, "fingerprints": sums}))
    )
    orbax_tree.commit(epath.Path(target / _INFO))
    handlers = dict.fromkeys((_PARAMS, _REST), orbax_tree.STANDARD_HANDLER)
    orbax_tree.write_step_metadata(epath.Path(target), {**handlers, _INFO: orbax_tree.JSON_HANDLER})


def _write_stacks(
    tree: orbax_tree.Writer, tensors: Mapping[str, Tensor], done: Callable[[int], object]
) -> list[fingerprints.Sums]:
    """Writes layer by layer; returns the sums of each stack, in the order of the tree."""
    sums: dict[str, fingerprints.Sums] = {}
    for stack, names in stacks(tensors).items():
        shape = tensors[names[0]].shape
        stacked = place(names[0]).layer is not None
        tree.begin(stack, (len(names), *shape) if stacked else shape, stacked)
        sums[stack] = (0, 0)
        for layer, name in enumerate(names):
            array = tensors[name].whole()
            tree.write(array, place(name).layer)
            sums[stack] = fingerprints.added([sums[stack], _sums_of_layer(array, layer)])
            done(array.nbytes)
    return [sums[stack] for stack in fingerprints.in_tree_order(sums)]


def _layers(own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Own, stacked tensors -> T5X's, layer by layer: each layer is in chunks of its own."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in own.items():
        if "layers/" not in name:
            tensors[name] = tensor
        else:
            for layer in range(tensor.shape[0]):
                tensors[unstacked(name, layer)] = _layer(tensor, layer)
    return tensors


def _layer(stack: Tensor, layer: int) -> Tensor:
    own = slice(layer, layer + 1)
    return Tensor(stack.shape[1:], stack.dtype, lambda index: stack.read((own, *index))[0])


def read_info(folder: epath.Path) -> Mapping[str, Any]:
    """What a checkpoint says of itself, checked; empty where it says nothing."""
    path = folder / _INFO / "metadata"
    if not path.exists():
        return {}
    found = integrity.read_json(path)
    is_whole = (
        isinstance(found, dict)
        and isinstance(found.get("fingerprints", {}), dict)
        and isinstance(found.get("first_step", 0), int)
        and isinstance(found.get(SELECTION, 0.0), int | float)
    )
    if not is_whole or (integrity.DIGEST in found and not integrity.is_sealed(found)):
        raise UserError(f"{path}: damaged: not as it was written")
    return found


def score(folder: epath.Path) -> float | None:
    """How good a checkpoint is; None where nothing was validated."""
    return read_info(folder).get(SELECTION)
