"""What a T5 1.1 checkpoint must hold, and one clear line where it does not."""

import functools
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from recalign.errors import UserError
from recalign.model.network import Network
from recalign.model.t5.config import T5Config
from recalign.model.t5.sizes import SIZES
from recalign.weights.tensors import MOMENTS, Tensor, flatten, place, unstacked, zeros

Shapes = Mapping[str, tuple[int, ...]]

_READABLE = ("float32", "bfloat16", "float16")
_MOST_NAMES = 3
# T5X's Adafactor factors a tensor whose two largest dimensions have at least this size.
_SMALLEST_FACTORED = 128


@functools.cache
def param_shapes(network: Network) -> Shapes:
    """T5X's names of a model's parameters -> their shapes."""
    own = flatten(network.params_shape(), lambda node: False)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, leaf in own.items():
        if "layers/" not in name:
            shapes[name] = leaf.shape
            continue
        for layer in range(leaf.shape[0]):
            shapes[unstacked(name, layer)] = leaf.shape[1:]
    return MappingProxyType(shapes)


def moment_shapes(params: Shapes) -> Shapes:
    """Adafactor's moments as T5X shapes them, by the names of what they are of."""
    return {
        f"{name}/{moment}": moment_shape
        for name, shape in params.items()
        for moment, moment_shape in zip(MOMENTS, moments_of(shape), strict=True)
    }


def no_moments(config: T5Config) -> dict[str, Tensor]:
    """Those with which Adafactor begins."""
    shapes = moment_shapes(param_shapes(config))
    return {name: zeros(shape) for name, shape in shapes.items()}


def moments_of(shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """The shapes of a parameter's `MOMENTS`: what it does not use is of shape (1,).

    Heuristics of `t5x.adafactor`: the rows are the second largest dimension, the columns the
    largest; `v_row` is the mean over the columns and `v_col` that over the rows.
    """
    if (axes := factored_axes(shape)) is None:
        return (1,), (1,), shape
    rows, columns = axes
    return _without(shape, columns), _without(shape, rows), (1,)


def factored_axes(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """The axes of the second largest and the largest dimension, or None: too small to factor.

    >>> factored_axes((512, 1024)), factored_axes((512,)), factored_axes((32, 6))
    ((0, 1), None, None)
    """
    if len(shape) < 2:
        return None
    by_size = np.argsort(shape)
    if shape[by_size[-2]] < _SMALLEST_FACTORED:
        return None
    return int(by_size[-2]), int(by_size[-1])


def infer_config(where: str, params: Mapping[str, Tensor]) -> T5Config:
    """The sizes of the model, from the shapes of its parameters."""

    def shape(name: str) -> tuple[int, ...]:
        if name not in params:
            raise UserError(
                f"{where}: not a T5 1.1 model: it has no {name}, but {_some(params) or 'nothing'}"
            )
        if len(params[name].shape) != 2:
            raise UserError(f"{where}: {name} has shape {params[name].shape}, not two dimensions")
        return params[name].shape

    vocab_size, emb_dim = shape("token_embedder/embedding")
    num_heads = shape("encoder/relpos_bias/rel_embedding")[0]
    inner = shape("encoder/layers_0/attention/query/kernel")[1]
    return T5Config(
        vocab_size=vocab_size,
        emb_dim=emb_dim,
        num_heads=num_heads,
        num_encoder_layers=_layers(params, "encoder/"),
        num_decoder_layers=_layers(params, "decoder/"),
        head_dim=inner // num_heads,
        mlp_dim=shape("encoder/layers_0/mlp/wi_0/kernel")[1],
        logits_via_embedding="decoder/logits_dense/kernel" not in params,
    )


def check_params(where: str, params: Mapping[str, Tensor], network: Network) -> None:
    """UserError where names, shapes, types or the vocabulary are not those of the model."""
    embedding = params.get("token_embedder/embedding")
    if embedding is not None and embedding.shape and embedding.shape[0] != network.vocab_size:
        name, way_on = type(network).__name__, ""
        if isinstance(network, T5Config):
            way_on = (
                "; `recalign convert --item_tokens DATASET` gives it rows for a dataset's item "
                "tokens"
            )
        raise UserError(
            f"{where}: its vocabulary has {embedding.shape[0]} tokens, the model's "
            f"{network.vocab_size} ({name}.vocab_size){way_on}"
        )
    _check(where, "parameters", params, param_shapes(network))
    for name, tensor in params.items():
        if tensor.dtype.name not in _READABLE:
            raise UserError(f"{where}: {name} is of type {tensor.dtype.name}, not float32")


def check_sizes(where: str, config: T5Config, stated: Mapping[str, Any]) -> None:
    """UserError where a model is not of the sizes that its run states; others are not compared."""
    for name in (*SIZES, "logits_via_embedding"):
        found = getattr(config, name)
        if stated.get(name, found) != found:
            raise UserError(
                f"{where}: not the run's own checkpoint: {name} is {found} there, and "
                f"{stated[name]!r} in the run's run.json"
            )


def check_moments(where: str, moments: Mapping[str, Tensor], config: T5Config) -> None:
    """UserError where the optimizer's state is not that of T5X's Adafactor for the model."""
    try:
        _check(where, "moments of Adafactor", moments, moment_shapes(param_shapes(config)))
    except UserError as error:
        raise UserError(f"{error}; weights_only leaves the optimizer's state out") from error


def _check(where: str, kind: str, found: Mapping[str, Tensor], expected: Shapes) -> None:
    missing = [name for name in expected if name not in found]
    left_over = [name for name in found if name not in expected]
    misshaped = [
        f"{name} {found[name].shape} instead of {shape}"
        for name, shape in expected.items()
        if name in found and found[name].shape != shape
    ]
    complaints = [
        f"{len(names)} {complaint} ({_some(names)})"
        for names, complaint in (
            (missing, f"{kind} are missing"),
            (left_over, "are left over"),
            (misshaped, "have another shape"),
        )
        if names
    ]
    if complaints:
        raise UserError(f"{where}: {', '.join(complaints)}")


def _layers(params: Iterable[str], stack: str) -> int:
    numbers = [place(name).layer for name in params if name.startswith(stack)]
    return max((number for number in numbers if number is not None), default=0) + 1


def _some(names: Iterable[str]) -> str:
    names = list(names)
    shown = ", ".join(names[:_MOST_NAMES])
    return f"{shown}, …" if len(names) > _MOST_NAMES else shown


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]
