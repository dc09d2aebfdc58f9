"""More rows for a vocabulary that got item tokens: a token starts as the mean of its text's."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int32

from recalign.errors import UserError
from recalign.weights.tensors import Tensor, Weights

EMBEDDING, OUTPUT = "token_embedder/embedding", "decoder/logits_dense/kernel"


@dataclasses.dataclass(frozen=True)
class NewRows:
    """The tokens that a vocabulary gets after its older ones.

    Attributes:
      first: the number of the first.
      vocab_size: rows of the grown table, those that only fill it up included.
      texts: of each, the older tokens that it stands for.
    """

    first: int
    vocab_size: int
    texts: Sequence[Int32[np.ndarray, " tokens"]]


def grow(weights: Weights, rows: NewRows) -> Weights:
    """The weights with a row of the embedding, and of an output layer of its own, a new token.

    A new row is the mean of the older rows of its text; of a text without tokens, and for rows that
    fill up the table, the mean of all older rows. The optimizer's state stays behind: its moments
    are of other shapes.

    Raises:
      UserError: the table lacks older tokens, or holds newer ones already.
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
