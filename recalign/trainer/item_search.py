"""Beam search over a catalogue's IDs, each request among its own items: tokens in, items out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int

from recalign.model.decode import NO_BEAM
from recalign.model.network import Network
from recalign.model.trie import Trie
from recalign.trainer import partitioning
from recalign.trainer.decoding import EXACT, POOL, BeamDecoder, filled_up, padded
from recalign.trainer.item_index import Query

if TYPE_CHECKING:
    from recalign.trainer.fusion import Candidates

# Fewer beams than this would miss good items.
_LEAST_BEAMS = 20


def beams_for(k: int) -> int:
    """20, 40, 80, …: few numbers of beams are compiled, whatever is asked for."""
    beams = _LEAST_BEAMS
    while beams < k:
        beams *= 2
    return beams


class Found(NamedTuple):
    """{item: natural logarithm of its probability}: the beams, best first, and the candidates that
    may be among the likeliest."""

    beams: dict[int, float]
    scored: dict[int, float]


class Nodes:
    """The nodes of a trie that lead to some of its sequences.

    Counted in host memory: a request leaves out a handful of a catalogue, and takes a few steps
    upwards for each, where `Trie.node_mask` marks all the others.
    """

    def __init__(self, trie: Trie):
        self._parent_N = np.asarray(trie.parent_N)
        self._leaf_S = np.asarray(trie.leaf_S)
        self._all_N = self._counts(self._leaf_S)

    def of(self, queries: Sequence[Query]) -> Bool[np.ndarray, "B N"]:
        """bool [B, N]: the nodes with an allowed sequence below them."""
        # Requests of one subset have the same array.
        counts = {id(it.allowed): it.allowed for it in queries}
        counts_N = {
            key: self._all_N if allowed is None else self._counts(self._leaf_S[allowed])
            for key, allowed in counts.items()
        }
        return np.stack([self._without(counts_N[id(it.allowed)], it) for it in queries])

    def _counts(self, leaf: Int[np.ndarray, " m"]) -> Int[np.ndarray, " N"]:
        """How many of some leaves are below each node, itself included; 0 for the root."""
        counts_N = np.zeros(len(self._parent_N), np.int32)
        while len(leaf):
            counts_N += np.bincount(leaf, minlength=len(counts_N)).astype(np.int32)
            leaf = self._parent_N[leaf]
            leaf = leaf[leaf > 0]
        return counts_N

    def _without(self, counts_N: Int[np.ndarray, " N"], query: Query) -> Bool[np.ndarray, " N"]:
        left_out, touched = query.left_out, []
        if query.allowed is not None:
            left_out = left_out[query.allowed[left_out]]
        node = self._leaf_S[left_out]
        while len(node):
            touched.append(node)
            node = self._parent_N[node]
            node = node[node > 0]
        nodes_N = counts_N > 0
        if touched:
            node, lost = np.unique(np.concatenate(touched), return_counts=True)
            nodes_N[node] = counts_N[node] > lost
        return nodes_N


class Started(NamedTuple):
    """A search that the device works on."""

    device: dict[str, Any]
    prompts: int
    candidates: Sequence[Candidates] | None


class ItemSearch:
    """A model and the IDs that may answer."""

    def __init__(
        self,
        params: Any,
        network: Network,
        mesh: jax.sharding.Mesh,
        trie: Trie,
        largest_batch: int,
    ):
        """`trie` is of the IDs, in the catalogue's order; a device searches for at most
        `largest_batch` prompts together.
        """
        self.params, self.mesh, self._network, self._trie = params, mesh, network, trie
        self._nodes = Nodes(trie)
        self.batch_sizes = [1]  # then 4, 16, … and the largest: few numbers of prompts are compiled
        while self.batch_sizes[-1] < largest_batch:
            self.batch_sizes.append(min(self.batch_sizes[-1] * 4, largest_batch))
        every_item_1xN = jnp.arange(len(trie.leaf_S))[jnp.newaxis]
        self._index_of_tokens = {
            tokens.tobytes(): index
            for index, tokens in enumerate(np.asarray(trie.tokens(every_item_1xN)[0]))
        }

    def start(
        self,
        prompts: Sequence[Int[np.ndarray, " n"]],
        queries: Sequence[Query],
        candidates: Sequence[Candidates] | None,
        length: int,
        beam_size: int,
    ) -> Started:
        """Sets the device to work and does not wait for it.

        The prompts of the queries, at most the last of `batch_sizes`, are padded to `length`. Where
        a prior's `candidates` are given, the probabilities are wanted too of those that can be
        among the likeliest items.
        """
        size = next(size for size in self.batch_sizes if size >= len(prompts))
        # Each device decodes as many.
        size *= self.mesh.shape[partitioning.DATA]
        of_prior: dict[str, Any] = {}
        if candidates is not None:
            of_prior["pool_BxC"] = filled_up([it.items for it in candidates], size)
            log_prior_BxC = filled_up([it.log_prior for it in candidates], size)
            wanted = np.array([it.wanted for it in queries], np.int32)
            of_prior["prior"] = log_prior_BxC, filled_up(list(wanted), size)
        # Without the length penalty, which would favour items whose IDs have more tokens.
        decoder = BeamDecoder(self._network, self.mesh, beam_size, alpha=0.0)
        device = decoder.start(
            self.params,
            filled_up(list(padded(prompts, len(prompts), length)), size),
            (POOL,) if candidates is None else (POOL, EXACT),
            max_decode_len=self._trie.depth,
            trie=self._trie,
            allowed_BxN=filled_up(list(self._nodes.of(queries)), size),
            **of_prior,
        )
        return Started(device, len(prompts), candidates)

    def wait(self, started: Started) -> Iterator[Found]:
        """What was found for each prompt."""
        decoded = partitioning.to_host(started.device)
        beams = decoded[POOL]
        tokens = np.ascontiguousarray(beams.tokens_BxKxT[:, ::-1])
        tokens_BxK = tokens.view(f"V{tokens.strides[1]}")[..., 0].tolist()
        log_probs_BxK = beams.log_probs_BxK[:, ::-1].tolist()
        for number in range(started.prompts):
            best_first = zip(tokens_BxK[number], log_probs_BxK[number], strict=True)
            # The last ones are fillers where there are fewer items than beams.
            found = {
                self._index_of_tokens[tokens]: log_prob
                for tokens, log_prob in best_first
                if log_prob > NO_BEAM
            }
            scored: dict[int, float] = {}
            if started.candidates is not None:
                exact_C = decoded[EXACT][number].tolist()
                items_C = started.candidates[number].items.tolist()
                scored = {
                    item: log_prob
                    for item, log_prob in zip(items_C, exact_C, strict=True)
                    if log_prob > NO_BEAM  # a filler, or left out
                }
            yield Found(found, scored)
