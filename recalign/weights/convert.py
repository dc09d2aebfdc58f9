"""Weights from one format to another, tensor by tensor."""

import contextlib
import dataclasses
import itertools
import math
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import tqdm
from etils import epath

from recalign.data.atomic import to_disk, tree_to_disk
from recalign.errors import UserError
from recalign.weights import formats, inspection, own
from recalign.weights.growth import NewRows, grow
from recalign.weights.tensors import Tensor, Weights, as_float32, stacks


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What was converted.

    Attributes:
      source_format, destination_format: "own", "t5x", "t5x_orbax" or "hugging_face".
      destination: the folder that was written.
      step: of the checkpoint.
      parameters: how many numbers the model has.
      optimizer: whether the optimizer's state came along.
    """

    source_format: str
    destination_format: str
    destination: pathlib.Path
    step: int
    parameters: int
    optimizer: bool


def convert(
    source: str,
    destination: str,
    *,
    source_format: str | None = None,
    destination_format: str | None = None,
    weights_only: bool = False,
    first_step: int | None = None,
    new_rows: NewRows | None = None,
    sizes: Mapping[str, Any] | None = None,
) -> Conversion:
    """Writes the weights of `source`, in another format, to `destination`.

    A tensor at a time, so that it takes no more memory than the largest one and a margin. The
    destination appears when it is complete. Adafactor's state comes along between T5X and the own
    engine; a new one is begun where the source has none.

    Args:
      source: a T5X checkpoint (`checkpoint_N`, or a MODEL_DIR: its newest), a Hugging Face folder
        or hub name, a run of the own engine (its best checkpoint) or its `checkpoints/STEP`.
      destination: a local folder that does not exist yet: `checkpoint_N` of T5X or a folder to put
        it in, a MODEL_DIR of the own engine, a Hugging Face folder.
      source_format: by default told from the files.
      destination_format: by default T5X's for the name `checkpoint_N`, else the own one, unless
        that is the source's.
      weights_only: leave the optimizer's state behind.
      first_step: the step at which fine-tuning began, which T5X's checkpoints do not hold: T5X's
        `step_offset`. By default 0 where there is an optimizer's state, else the checkpoint's step.
      new_rows: tokens that the vocabulary gets besides; the optimizer's state then stays behind.
      sizes: what the source says of its model, by names of T5Config; None where it says nothing.

    Raises:
      UserError: the source is not a whole T5 1.1 checkpoint, or the destination cannot be written.
    """
    name, folder = formats.resolve(source, source_format)
    weights = formats.open_weights(name, folder)
    config = inspection.infer_config(weights.where, weights.params)
    inspection.check_params(weights.where, weights.params, config)
    inspection.check_sizes(weights.where, config, sizes or {})
    if new_rows is not None:
        weights = grow(weights, new_rows)
        config = dataclasses.replace(config, vocab_size=new_rows.vocab_size)
    if weights_only:
        weights = dataclasses.replace(weights, moments={})
    if weights.moments:
        inspection.check_moments(weights.where, weights.moments, config)
    to = _destination_format(destination, destination_format, name)
    weights, target = _place(weights, destination, to)
    if name == formats.OWN:
        own.verify(folder)
    weights = dataclasses.replace(
        weights,
        params=_in_stacks(weights.params),
        moments=_in_stacks(weights.moments),
        first_step=weights.first_step if first_step is None else first_step,
    )
    numbers = _numbers(weights.params)
    carried = {} if to == formats.HUGGING_FACE else weights.moments
    size = 4 * (numbers + _numbers(carried))
    with (
        _whole_or_nothing(target) as unfinished,
        tqdm.tqdm(total=size, unit="B", unit_scale=True, desc=to, mininterval=1) as progress,
    ):
        formats.FORMATS[to].write(weights, config, unfinished, progress.update)
    return Conversion(name, to, target, weights.step or 0, numbers, bool(carried))


def _destination_format(destination: str, stated: str | None, source: str) -> str:
    formats.check_stated(stated)
    if destination.startswith("gs://"):
        raise UserError(f"{destination}: weights are written to a local folder; copy them from it")
    if stated is not None:
        return stated
    if formats.T5X_CHECKPOINT.fullmatch(pathlib.Path(destination).name):
        return formats.T5X
    if source == formats.OWN:
        others = ", ".join(name for name in formats.FORMATS if name != formats.OWN)
        raise UserError(f"{destination}: in which format? Name it: {others}")
    return formats.OWN


def _place(weights: Weights, destination: str, to: str) -> tuple[Weights, pathlib.Path]:
    """The weights with their step settled, and the folder that is to be written."""
    target = pathlib.Path(destination)
    if to in (formats.T5X, formats.T5X_ORBAX):
        if match := formats.T5X_CHECKPOINT.fullmatch(target.name):
            named = int(match[1])
            if weights.step not in (None, named):
                raise UserError(
                    f"{destination}: the checkpoint is of step {weights.step}: name it "
                    f"checkpoint_{weights.step}"
                )
            weights = dataclasses.replace(weights, step=named)
        else:
            target = target / f"checkpoint_{weights.step or 0}"
    if target.exists():
        raise UserError(f"{target}: it exists already; give another name or remove it")
    return weights, target


@contextlib.contextmanager
def _whole_or_nothing(target: pathlib.Path) -> Iterator[pathlib.Path]:
    """A name beside the target, which becomes the target if all goes well."""
    unfinished = target.with_name(f".{target.name}.unfinished-{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        tree_to_disk(epath.Path(unfinished))
        unfinished.rename(target)
        to_disk(epath.Path(target.parent))
    except OSError as error:
        raise UserError(f"{target}: cannot be written: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _in_stacks(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As float32, the layers of a stack one after the other, because a stack may be one chunk."""
    names = itertools.chain.from_iterable(stacks(tensors).values())
    return {name: as_float32(tensors[name]) for name in names}


def _numbers(tensors: Mapping[str, Tensor]) -> int:
    return sum(math.prod(tensor.shape) for tensor in tensors.values())
