"""Which format a path is in, and which modules read and write it."""

import pathlib
import re
from collections.abc import Callable
from typing import Protocol

from etils import epath

from recalign.errors import UserError
from recalign.model.t5.config import T5Config
from recalign.weights import hugging_face, own, t5x_legacy, t5x_orbax
from recalign.weights.tensors import Weights

OWN, T5X, T5X_ORBAX, HUGGING_FACE = "own", "t5x", "t5x_orbax", "hugging_face"
T5X_CHECKPOINT = re.compile(r"checkpoint_(\d+)")


class Format(Protocol):
    """What a module of a format offers."""

    def detect(self, folder: epath.Path) -> bool: ...

    def open_weights(self, folder: epath.Path) -> Weights: ...

    def write(
        self, weights: Weights, config: T5Config, folder: pathlib.Path, done: Callable
    ) -> None: ...


# In the order in which they are tried.
FORMATS: dict[str, Format] = {
    HUGGING_FACE: hugging_face,
    OWN: own,
    T5X_ORBAX: t5x_orbax,
    T5X: t5x_legacy,
}


def check_stated(name: str | None) -> None:
    """UserError unless the name is of a format, or None."""
    if name not in (None, *FORMATS):
        raise UserError(f"{name!r} is no format of weights; the formats: {', '.join(FORMATS)}")


def resolve(path: str, stated: str | None = None) -> tuple[str, epath.Path]:
    """(format, folder of one checkpoint) of a path or of a name on the Hugging Face hub.

    A run of the own engine stands for its best checkpoint, a MODEL_DIR of T5X for its newest.
    """
    check_stated(stated)
    folder = epath.Path(path)
    if not folder.exists():
        if stated in (None, HUGGING_FACE) and hugging_face.is_hub_name(path):
            return HUGGING_FACE, hugging_face.download(path)
        raise UserError(f"{path}: no such file or folder")
    if folder.is_file():
        folder = folder.parent
    folder = _newest_of_t5x(folder)
    found = [name for name, module in FORMATS.items() if module.detect(folder)]
    if stated is not None and stated not in found:
        looks = f"it looks like {found[0]}" if found else "nor is it of any other"
        raise UserError(f"{path}: not in the format {stated}; {looks}")
    if not found:
        raise UserError(
            f"{path}: holds no weights that are known: a checkpoint_N of T5X, a MODEL_DIR of "
            "recalign or its checkpoints/STEP, or a folder with config.json and model.safetensors"
        )
    name = stated or found[0]
    return name, own.locate(folder) if name == OWN else folder


def open_weights(name: str, folder: epath.Path) -> Weights:
    return FORMATS[name].open_weights(folder)


def _newest_of_t5x(folder: epath.Path) -> epath.Path:
    matches = ((T5X_CHECKPOINT.fullmatch(child.name), child) for child in folder.iterdir())
    steps = {int(match[1]): child for match, child in matches if match}
    return steps[max(steps)] if steps else folder
