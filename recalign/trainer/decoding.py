"""Decoding the examples of a task: a few compiled shapes, all beams to the host."""

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

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

Started = TypeVar("Started")


class Batch(NamedTuple):
    """Examples that are decoded together: their numbers, and their inputs padded to one length."""

    numbers: np.ndarray
    inputs_BxL: Int[np.ndarray, "B L"]


@functools.partial(
    jax.jit,
    static_argnames=("network", "batch_sharding", "ways", "beam_size", "max_decode_len", "alpha"),
)
def _decode(
    params: Any,
    inputs_BxL: Int[Array, "B L"],
    trie: Trie | None,
    pool_BxC: Int[Array, "B C"] | None,
    allowed_BxN: Bool[Array, "B N"] | None,
    prior: tuple[Float[Array, "B C"], Int[Array, " B"]] | None,
    *,
    network: Network,
    batch_sharding: jax.sharding.Sharding,
    ways: tuple[str, ...],
    beam_size: int,
    max_decode_len: int,
    alpha: float,
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
    found: dict[str, Any] = {}
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
        assert trie is not None and pool_BxC is not None
        contest = None if prior is None else Contest(*prior, found[POOL])
        found[EXACT] = score_candidates(params, network, inputs_BxL, trie, pool_BxC, contest)
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
        """Searches with `beam_size` beams an example; `alpha`: T5X's length penalty, 0 for none."""
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
        allowed_BxN: Bool[np.ndarray, "B N"] | None = None,
        prior: tuple[Float[np.ndarray, "B C"], Int[np.ndarray, " B"]] | None = None,
    ) -> dict[str, Any]:
        """Sets the device to work and does not wait for it: `partitioning.to_host` does.

        Args:
          params: of the model.
          inputs_BxL: prompts, padded on the right with 0.
          ways: FREE, ITEMS, POOL, EXACT.
          max_decode_len: tokens of the longest output, EOS included.
          trie: the sequences of all ways but FREE.
          pool_BxC: for POOL and EXACT, indices into the trie's sequences, filled up with -1.
          allowed_BxN: for POOL instead of the pool, the trie's nodes that are searched.
          prior: log_prior_BxC and wanted_B of a `Contest`: EXACT leaves out what cannot win it.

        Returns {way: `Beams`}, and float [B, C] for EXACT.
        """
        asked = (inputs_BxL, pool_BxC, allowed_BxN, prior)
        inputs_BxL, *of_trie = jax.tree.map(self._shard, asked)
        return self._decode(
            params, inputs_BxL, trie, *of_trie, ways=ways, max_decode_len=max_decode_len
        )


def one_ahead(started: Iterable[Started]) -> Iterator[Started]:
    """Each one after the next has been started: the device is at work while it is read."""
    before: list[Started] = []
    for it in started:
        yield from before
        before = [it]
    yield from before


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
            rows = [inputs[number] for number in together]
            yield Batch(together, padded(rows, batch_size, lengths[place]))


def input_lengths(inputs: Sequence[np.ndarray], longest: int) -> Int[np.ndarray, " N"]:
    return np.array([min(len(tokens), longest) for tokens in inputs])


def padded(rows: Sequence[np.ndarray], batch_size: int, length: int) -> Int[np.ndarray, "B L"]:
    """Tokens, cut to the length and filled up with 0, as rows do."""
    tokens_BxL = np.zeros((batch_size, length), np.int32)
    for row, tokens in enumerate(rows):
        tokens_BxL[row, : len(tokens)] = tokens[:length]
    return tokens_BxL


def filled_up(rows: Sequence[np.ndarray], batch_size: int) -> np.ndarray:
    """Rows of one length as an array of `batch_size` rows, the last row repeated."""
    return np.stack([*rows, *[rows[-1]] * (batch_size - len(rows))])
