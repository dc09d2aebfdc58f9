"""What every format is read as: named tensors that can be read in parts.

All formats meet in T5X's names with its layers one by one (`encoder/layers_0/mlp/wo/kernel`), and
Adafactor's moments in the same names with `/v_row`, `/v_col` or `/v` behind them.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

Index = tuple[slice, ...]

MOMENTS = ("v_row", "v_col", "v")
_LAYER = re.compile(r"layers_(\d+)")


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An array that is read when it is asked for, and no more of it than that."""

    shape: tuple[int, ...]  # of the whole
    dtype: np.dtype  # as stored
    read: Callable[[Index], np.ndarray]  # a slice an axis, with bounds and no steps -> that part

    def whole(self) -> np.ndarray:
        return self.read(tuple(slice(0, size) for size in self.shape))


@dataclasses.dataclass(frozen=True)
class Weights:
    """A checkpoint that was opened; nothing but its table of contents has been read."""

    where: str  # what error messages call it
    params: Mapping[str, Tensor]  # by T5X's flat names
    moments: Mapping[str, Tensor]  # empty where there is no optimizer state
    step: int | None  # None where the format has none
    first_step: int | None = None  # where fine-tuning began; None where the format does not say


class Place(NamedTuple):
    """Where a tensor lives in the own, stacked layout: `layer` is None outside the stacks."""

    stacked: str
    layer: int | None


def place(name: str) -> Place:
    """T5X's name -> the own name and the number of the layer.

    >>> place("encoder/layers_3/mlp/wo/kernel")
    Place(stacked='encoder/layers/mlp/wo/kernel', layer=3)
    """
    match = _LAYER.search(name)
    if match is None:
        return Place(name, None)
    return Place(f"{name[: match.start()]}layers{name[match.end() :]}", int(match[1]))


def unstacked(name: str, layer: int) -> str:
    """The inverse of `place` for a name within a stack."""
    return name.replace("layers/", f"layers_{layer}/", 1)


def stacks(names: Iterable[str]) -> dict[str, list[str]]:
    """Own names, sorted -> T5X's names that make each up, in the order of the layers."""
    ordered: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda name: (place(name).stacked, place(name).layer or 0)):
        ordered.setdefault(place(name).stacked, []).append(name)
    return ordered


def as_float32(tensor: Tensor) -> Tensor:
    """The same values as float32, which holds bfloat16 and float16 exactly."""
    return dataclasses.replace(
        tensor,
        dtype=np.dtype(np.float32),
        read=lambda index: tensor.read(index).astype(np.float32, copy=False),
    )


def from_array(array: np.ndarray) -> Tensor:
    """An array that is in memory already."""
    return Tensor(array.shape, array.dtype, lambda index: array[index])


def zeros(shape: tuple[int, ...]) -> Tensor:
    """Zeros that take no memory until a part is read."""

    def read(index: Index) -> np.ndarray:
        return np.zeros([part.stop - part.start for part in index], np.float32)

    return Tensor(shape, np.dtype(np.float32), read)


def flatten(tree: Mapping[str, Any], is_leaf: Callable[[Any], bool]) -> dict[str, Any]:
    """Nested mappings -> names joined by `/`; empty mappings and None vanish."""
    flat: dict[str, Any] = {}
    nodes: list[tuple[str, Any]] = [("", tree)]
    while nodes:  # not by recursion: somebody's file may be nested deeper than Python's stack
        prefix, node = nodes.pop()
        if isinstance(node, Mapping) and not is_leaf(node):
            within = [(f"{prefix}/{key}" if prefix else str(key), node[key]) for key in node]
            nodes.extend(reversed(within))
        elif node is not None:
            flat[prefix] = node
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `flatten`."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, last = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return tree
