"""Decoding the examples of a task: a few compiled shapes, all beams to the host."""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from recalign.model.contest import Contest
from recalign.model.decode import LENGTH_PENALTY, Beams, beam_decode
from recalign.model.network import Network
from recalign.model.score import score_candidates
from recalign.model.trie import Trie
from recalign.trainer import partitioning
from recalign.trainer.lengths import chosen_lengths

# Ways to decode a batch.
FREE = "free"  # beams of any tokens
ITEMS = "items"  # beams of the trie's sequences alone
POOL = "pool"  # beams of each example's own few sequences of the trie
EXACT = "exact"  # no search: the log-probability of each sequence of that pool

# Compiled input lengths for requests, which come without notice: shares of the longest allowed.
_LENGTH_SHARES = (0.25, 0.5, 0.75, 1.0)


class HostBeams(NamedTuple):
    """Beams in host memory, in ascending order: the best is the last."""

    tokens_BxKxT: Int[np.ndarray, "B K T"]
    scores_BxK: Float[np.ndarray, "B K"]
    log_probs_BxK: Float[np.ndarray, "B K"]


class Decoded(NamedTuple):
    """What was decoded of a batch, by way of decoding."""

    beams: Mapping[str, HostBeams]
    exact_BxC: Float[np.ndarray, "B C"] | None


class Batch(NamedTuple):
    """Examples that are decoded together: their numbers, and their inputs padded to one length."""

    numbers: np.ndarray
    inputs_BxL: Int[np.ndarray, "B L"]


@functools.partial(
    jax.jit,
    static_argnames=(
        "network",
        "batch_sharding",
        "ways",
        "beam_size",
        "max_decode_len",
        "alpha",
    ),
)
def _decode(
    params: Any,
    inputs_BxL: Int[Array, "B L"],
    trie: Trie | None,
    pool_BxC: Int[Array, "B C"] | None,
    *,
    network: Network,
    batch_sharding: jax.sharding.Sharding,
    ways: tuple[str, ...],
    beam_size: int,
    max_decode_len: int,
    alpha: float,
    scored_BxC: Int[Array, "B C"] | None = None,
    allowed_BxN: Bool[Array, "B N"] | None = None,
    contest: Contest | None = None,
) -> dict[str, Beams | Float[Array, "B C"]]:
    """All ways in one program: XLA sees that they encode the same inputs, and does so once."""
    search = functools.partial(
        beam_decode,
        params,
        network,
        inputs_BxL,
        beam_size=beam_size,
        max_decode_len=max_decode_len,
        alpha=alpha,
        batch_sharding=batch_sharding,
    )
    found: dict[str, Beams | Float[Array, "B C"]] = {}
    if FREE in ways:
        found[FREE] = search()
    if ITEMS in ways:
        found[ITEMS] = search(trie=trie)
    if POOL in ways:
        assert trie is not None
        if allowed_BxN is None:
            assert pool_BxC is not None
            allowed_BxN = trie.node_mask(pool_BxC)
        found[POOL] = search(trie=trie, allowed_BxN=allowed_BxN)
    if EXACT in ways:
        scored_BxC = pool_BxC if scored_BxC is None else scored_BxC
        assert trie is not None and scored_BxC is not None
        met: Any = None if contest is None else found[POOL]
        found[EXACT] = score_candidates(params, network, inputs_BxL, trie, scored_BxC, contest, met)
    return found


class BeamDecoder:
    """Decoding by one model on a mesh, as evaluation and recommending use it."""

    def __init__(
        self,
        network: Network,
        mesh: jax.sharding.Mesh,
        beam_size: int,
        alpha: float = LENGTH_PENALTY,
    ):
        """Searches with `beam_size` beams.

        Args:
          network: whose beams are searched.
          mesh: where it lies.
          beam_size: beams an example.
          alpha: T5X's length penalty, 0 for none.
        """
        self._shard = functools.partial(partitioning.shard_whole, mesh)
        self._decode = functools.partial(
            _decode,
            network=network,
            batch_sharding=partitioning.batch_sharding(mesh),
            beam_size=beam_size,
            alpha=alpha,
        )

    def start(
        self,
        params: Any,
        inputs_BxL: Int[np.ndarray, "B L"],
        ways: tuple[str, ...],
        *,
        max_decode_len: int,
        trie: Trie | None = None,
        pool_BxC: Int[np.ndarray, "B C"] | None = None,
        scored_BxC: Int[np.ndarray, "B C"] | None = None,
        allowed_BxN: Bool[np.ndarray, "B N"] | None = None,
        log_prior_BxC: Float[np.ndarray, "B C"] | None = None,
        wanted_B: Int[np.ndarray, " B"] | None = None,
    ) -> dict[str, Any]:
        """Sets the device to work and does not wait for it: `fetch` does.

        Args:
          params: of the model.
          inputs_BxL: prompts, padded on the right with 0.
          ways: FREE, ITEMS, POOL, EXACT.
          max_decode_len: tokens of the longest output, EOS included.
          trie: the sequences of all ways but FREE.
          pool_BxC: for POOL and EXACT, indices into the trie's sequences, filled up with -1.
          scored_BxC: for EXACT instead of the pool.
          allowed_BxN: for POOL instead of the pool, the trie's nodes that are searched.
          log_prior_BxC, wanted_B: of a `Contest`: with POOL, EXACT leaves out what cannot win it.
        """
        contest = None
        if log_prior_BxC is not None and wanted_B is not None:
            contest = Contest(self._shard(log_prior_BxC), self._shard(wanted_B))
        return self._decode(
            params,
            self._shard(inputs_BxL),
            trie,
            None if pool_BxC is None else self._shard(pool_BxC),
            ways=ways,
            max_decode_len=max_decode_len,
            scored_BxC=None if scored_BxC is None else self._shard(scored_BxC),
            allowed_BxN=None if allowed_BxN is None else self._shard(allowed_BxN),
            contest=contest,
        )


def fetch(started: Mapping[str, Any]) -> Decoded:
    """What `BeamDecoder.start` set going, when it is there, in host memory."""
    beams = {
        way: HostBeams(*partitioning.to_host((it.tokens_BxKxT, it.scores_BxK, it.log_probs_BxK)))
        for way, it in started.items()
        if way != EXACT
    }
    return Decoded(beams, partitioning.to_host(started[EXACT]) if EXACT in started else None)


def bucket_lengths(longest: int) -> list[int]:
    """The input lengths that are compiled for requests, ascending.

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
    length_N = input_lengths(inputs, longest)
    lengths = chosen_lengths(length_N, longest, batch_size)
    chosen_N = np.searchsorted(lengths, length_N)
    for place in reversed(range(len(lengths))):
        numbers = np.flatnonzero(chosen_N == place)
        for start in range(0, len(numbers), batch_size):
            together = numbers[start : start + batch_size]
            inputs_BxL = np.zeros((batch_size, lengths[place]), np.int32)
            for row, number in enumerate(together):
                tokens = inputs[number][:longest]
                inputs_BxL[row, : len(tokens)] = tokens
            yield Batch(together, inputs_BxL)


def input_lengths(inputs: Sequence[np.ndarray], longest: int) -> Int[np.ndarray, " N"]:
    return np.array([min(len(tokens), longest) for tokens in inputs])


def filled_up(rows: Sequence[np.ndarray], batch_size: int) -> np.ndarray:
    """Rows of one length as an array of `batch_size` rows, the last row repeated."""
    return np.stack([*rows, *[rows[-1]] * (batch_size - len(rows))])
