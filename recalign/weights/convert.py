"""Weights from one format to another, tensor by tensor, with rows for new tokens where asked."""

import dataclasses
import functools
import itertools
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tqdm
from etils import epath
from jaxtyping import Float, Int32

from recalign.data.atomic import atomic_directory
from recalign.errors import UserError
from recalign.weights import formats, inspection, own
from recalign.weights.tensors import Tensor, Weights, as_float32, stacks

EMBEDDING, OUTPUT = "token_embedder/embedding", "decoder/logits_dense/kernel"


@dataclasses.dataclass(frozen=True)
class NewRows:
    """The tokens that a vocabulary gets after its older ones."""

    first: int  # the number of the first
    vocab_size: int  # rows of the grown table, those that only fill it up included
    texts: Sequence[Int32[np.ndarray, " tokens"]]  # of each, the older tokens that it stands for


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What was converted; formats are named as in `formats.FORMATS`."""

    source_format: str
    destination_format: str
    destination: pathlib.Path  # the folder that was written
    step: int  # of the checkpoint
    parameters: int  # how many numbers the model has
    optimizer: bool  # whether the optimizer's state came along


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
        atomic_directory(epath.Path(target)) as unfinished,
        tqdm.tqdm(total=size, unit="B", unit_scale=True, desc=to, mininterval=1) as progress,
    ):
        formats.FORMATS[to].write(weights, config, pathlib.Path(unfinished), progress.update)
        _refuse_existing(target)  # which somebody else may have made meanwhile
    return Conversion(name, to, target, weights.step or 0, numbers, bool(carried))


def grow(weights: Weights, rows: NewRows) -> Weights:
    """The weights with a row of the embedding, and of an output layer of its own, a new token.

    A new row is the mean of the older rows of its text; of a text without tokens, and for rows that
    fill up the table, the mean of all older rows. The optimizer's state stays behind: its moments
    are of other shapes.
    """
    shape = weights.params[EMBEDDING].shape
    if shape[0] < rows.first:
        raise UserError(
            f"{weights.where}: its table has {shape[0]:,} rows, the vocabulary {rows.first:,} "
            "tokens before its items: weights of another vocabulary"
        )
    # Tables are filled up to a multiple of 128.
    if shape[0] >= rows.first + 128:
        raise UserError(
            f"{weights.where}: its table has {shape[0]:,} rows, items' among them: "
            f"only the first {rows.first:,} are those of the older vocabulary"
        )
    params = dict(weights.params)
    params[EMBEDDING] = _tensor(
        (rows.vocab_size, shape[1]), lambda: _grown(weights.params[EMBEDDING].whole(), rows)
    )
    if OUTPUT in params:
        params[OUTPUT] = _tensor(
            (shape[1], rows.vocab_size), lambda: _grown(weights.params[OUTPUT].whole().T, rows).T
        )
    return dataclasses.replace(weights, params=params, moments={})


def _grown(table_VxD: np.ndarray, rows: NewRows) -> Float[np.ndarray, "W D"]:
    old = table_VxD[: rows.first].astype(np.float32)
    mean = old.mean(axis=0, dtype=np.float64).astype(np.float32)
    grown = np.empty((rows.vocab_size, old.shape[1]), np.float32)
    grown[: rows.first] = old
    for number, text in enumerate(rows.texts, rows.first):
        grown[number] = old[text].mean(axis=0) if len(text) else mean
    grown[rows.first + len(rows.texts) :] = mean
    return grown


def _tensor(shape: tuple[int, ...], make: Callable[[], np.ndarray]) -> Tensor:
    """An array that is made when its first part is read."""
    made = functools.cache(make)
    return Tensor(shape, np.dtype(np.float32), lambda index: made()[index])


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
    _refuse_existing(target)
    return weights, target


def _refuse_existing(target: pathlib.Path) -> None:
    if target.exists():
        raise UserError(f"{target}: it exists already; give another name or remove it")


def _in_stacks(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As float32, the layers of a stack one after the other, because a stack may be one chunk."""
    names = itertools.chain.from_iterable(stacks(tensors).values())
    return {name: as_float32(tensors[name]) for name in names}


def _numbers(tensors: Mapping[str, Tensor]) -> int:
    return sum(math.prod(tensor.shape) for tensor in tensors.values())
