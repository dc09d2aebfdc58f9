"""Beam search over the examples of a task: a few compiled shapes, all beams to the host."""

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from recalign.model.config import T5Config
from recalign.model.decode import Beams, beam_decode
from recalign.model.trie import Trie
from recalign.trainer import partitioning

# Compiled input lengths of a task, as shares of the longest allowed.
_LENGTH_SHARES = (0.25, 0.5, 0.75, 1.0)
# A length with fewer batches is not worth its compilation: they are padded to the next one.
_LEAST_BATCHES = 8

_compiled_decode = jax.jit(
    beam_decode,
    static_argnames=("config", "beam_size", "max_decode_len", "alpha", "eos_id", "exact_log_probs"),
)
_compiled_mask = jax.jit(lambda trie, indices_BxC: trie.node_mask(indices_BxC))


class HostBeams(NamedTuple):
    """Beams in host memory, in ascending order: the best is the last."""

    tokens_BxKxT: Int[np.ndarray, "B K T"]
    scores_BxK: Float[np.ndarray, "B K"]
    log_probs_BxK: Float[np.ndarray, "B K"]


class Batch(NamedTuple):
    """Examples that are decoded together: their numbers, and their inputs padded to one length."""

    numbers: np.ndarray
    inputs_BxL: Int[np.ndarray, "B L"]


class BeamDecoder:
    """Beam search of one model on a mesh, as evaluation and recommending use it."""

    def __init__(
        self, config: T5Config, mesh: jax.sharding.Mesh, beam_size: int, alpha: float = 0.6
    ):
        """Searches with `beam_size` beams; `alpha` is T5X's length penalty, 0 for none."""
        self._mesh = mesh
        self._decode = functools.partial(
            _compiled_decode, config=config, beam_size=beam_size, alpha=alpha
        )

    def __call__(
        self,
        params: Any,
        inputs_BxL: Int[np.ndarray, "B L"],
        *,
        max_decode_len: int,
        trie: Trie | None = None,
        candidates_BxC: Int[np.ndarray, "B C"] | None = None,
    ) -> HostBeams:
        """All beams. With `trie` its sequences only, with `candidates_BxC` only those of them."""
        shard = functools.partial(partitioning.shard_whole, self._mesh)
        allowed_BxN = None
        if candidates_BxC is not None:
            allowed_BxN = _compiled_mask(trie, shard(candidates_BxC))
        beams: Beams = self._decode(
            params,
            encoder_input_tokens_BxL=shard(inputs_BxL),
            max_decode_len=max_decode_len,
            trie=trie,
            allowed_BxN=allowed_BxN,
        )
        return HostBeams(
            *partitioning.to_host((beams.tokens_BxKxT, beams.scores_BxK, beams.log_probs_BxK))
        )


def bucket_lengths(longest: int) -> list[int]:
    """The input lengths that are compiled, ascending.

    The same for every split and task, so that validation and test share their compiled programs.

    >>> bucket_lengths(512), bucket_lengths(20)
    ([128, 256, 384, 512], [8, 16, 20])
    """
    rounded = {min(longest, math.ceil(longest * share / 8) * 8) for share in _LENGTH_SHARES}
    return sorted(rounded)


def batches_by_length(
    inputs: Sequence[np.ndarray], longest: int, batch_size: int
) -> Iterator[Batch]:
    """Examples of like lengths together, the longest first; the last of a length is filled up.

    Which examples share a batch depends on the inputs and the batch size alone, so that an
    evaluation that was interrupted makes the same batches again.
    """
    lengths = np.array([min(len(tokens), longest) for tokens in inputs])
    buckets = np.array(bucket_lengths(longest))
    bucket_of = np.searchsorted(buckets, lengths)
    longest_used = bucket_of.max(initial=0)
    for bucket in range(longest_used):
        if np.count_nonzero(bucket_of == bucket) < _LEAST_BATCHES * batch_size:
            bucket_of[bucket_of == bucket] = bucket + 1
    for bucket in reversed(range(len(buckets))):
        numbers = np.flatnonzero(bucket_of == bucket)
        for start in range(0, len(numbers), batch_size):
            chosen = numbers[start : start + batch_size]
            inputs_BxL = np.zeros((batch_size, buckets[bucket]), np.int32)
            for place, number in enumerate(chosen):
                tokens = inputs[number][:longest]
                inputs_BxL[place, : len(tokens)] = tokens
            yield Batch(chosen, inputs_BxL)


def filled_up(rows: Sequence[np.ndarray], batch_size: int) -> np.ndarray:
    """Rows of one length as an array of `batch_size` rows, the last row repeated."""
    return np.stack([*rows, *[rows[-1]] * (batch_size - len(rows))])
