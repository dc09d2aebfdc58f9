"""The valid token sequences of a catalogue as a trie in compressed sparse rows.

Nodes are numbered level by level, and within a level in the order of their token sequences, so
the children of a node are consecutive, and so are the children of consecutive nodes. Three arrays
say all of it:

    first_child_N1[n] … first_child_N1[n + 1] - 1   the children of node n
    token_N[n]                                      the token on the edge into node n
    parent_N[n]                                     the node that the edge comes from

Node 0 is the root. The end of a sequence is a leaf of its own, reached by EOS, so that a sequence
may be the prefix of another, and a subset of the catalogue is a subset of the nodes.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from recalign.errors import UserError


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Trie:
    """Valid sequences on the accelerator. S sequences, N nodes."""

    first_child_N1: Int[Array, " N1"]  # where each node's children start; the last one closes
    token_N: Int[Array, " N"]  # of the edge into each node; 0 for the root
    parent_N: Int[Array, " N"]  # the root's is itself
    leaf_S: Int[Array, " S"]  # the leaf (EOS) of each sequence, in the order they were given
    # The largest number of children of a node, at each level: a lookup is as wide as the levels
    # that it is for. With a token an item the first level has all items, the next one EOS.
    widths: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    # Tokens of the longest sequence, EOS included.
    depth: int = dataclasses.field(metadata={"static": True})
    # Tokens with which every sequence begins, as the "I" of I1, I2, ….
    shared_prefix: int = dataclasses.field(metadata={"static": True})

    @classmethod
    def from_sequences(cls, sequences: Sequence[Sequence[int]], eos_id: int = 1) -> "Trie":
        """The trie of token sequences given without their EOS; repeats share a leaf."""
        lengths_S = np.fromiter(map(len, sequences), np.int64, len(sequences))
        tokens = np.fromiter(
            itertools.chain.from_iterable(sequences), np.int64, int(lengths_S.sum())
        )
        return cls.from_ragged(tokens, lengths_S, eos_id)

    @classmethod
    def from_ragged(
        cls, tokens: Int[np.ndarray, " total"], lengths_S: Int[np.ndarray, " S"], eos_id: int = 1
    ) -> "Trie":
        """The same from one flat array of all sequences' tokens and the length of each."""
        _check(tokens, lengths_S, eos_id)
        tokens_SxT = _padded(tokens, lengths_S, eos_id)
        order_S = np.lexsort(tokens_SxT.T[::-1])
        sorted_SxT = tokens_SxT[order_S]
        first_child_N1, token_N, parent_N, leaf_sorted_S = _level_order(sorted_SxT)
        leaf_S = np.empty_like(leaf_sorted_S)
        leaf_S[order_S] = leaf_sorted_S
        return cls(
            first_child_N1=jnp.asarray(first_child_N1, jnp.int32),
            token_N=jnp.asarray(token_N, jnp.int32),
            parent_N=jnp.asarray(parent_N, jnp.int32),
            leaf_S=jnp.asarray(leaf_S, jnp.int32),
            widths=_widths(first_child_N1),
            depth=int(tokens_SxT.shape[1]),
            shared_prefix=_shared_prefix(first_child_N1),
        )

    @property
    def num_nodes(self) -> int:
        return self.token_N.shape[0]

    def children(
        self,
        nodes_BxK: Int[Array, "B K"],
        allowed_BxN: Bool[Array, "#B N"] | None = None,
        first_level: int = 0,
        last_level: int | None = None,
    ) -> tuple[Int[Array, "B K M"], Bool[Array, "B K M"]]:
        """The child nodes of each beam's node, and which of them are real.

        The nodes are of the levels from `first_level` to `last_level` (None: to the last); the
        root's level is 0, and M is the widest of these. `allowed_BxN`: the nodes that are searched;
        None for all.
        """
        end = None if last_level is None else last_level + 1
        width = max(self.widths[first_level:end], default=1)
        first_BxK = self.first_child_N1[nodes_BxK]
        end_BxK = self.first_child_N1[nodes_BxK + 1]
        child_BxKxM = first_BxK[..., None] + jnp.arange(width, dtype=jnp.int32)
        valid_BxKxM = child_BxKxM < end_BxK[..., None]
        child_BxKxM = jnp.where(valid_BxKxM, child_BxKxM, 0)
        if allowed_BxN is not None:
            batch = nodes_BxK.shape[0]
            allowed_BxN = jnp.broadcast_to(allowed_BxN, (batch, self.num_nodes))
            valid_BxKxM &= jax.vmap(lambda allowed, child: allowed[child])(allowed_BxN, child_BxKxM)
        return child_BxKxM, valid_BxKxM

    def tokens(self, sequence_indices_BxC: Int[Array, "B C"]) -> Int[Array, "B C T"]:
        """The sequences with their EOS, `depth` wide, 0 after it; all 0 for -1."""
        given_BxC = sequence_indices_BxC >= 0
        leaf_BxC = jnp.where(given_BxC, self.leaf_S[sequence_indices_BxC], 0)
        # From the leaf upwards; after it, the root, whose token is 0.
        _, node_TxBxC = jax.lax.scan(
            lambda node_BxC, _: (self.parent_N[node_BxC], node_BxC), leaf_BxC, length=self.depth
        )
        upwards_BxCxT = self.token_N[jnp.moveaxis(node_TxBxC, 0, 2)]
        length_BxCx1 = jnp.sum(upwards_BxCxT > 0, axis=-1, keepdims=True)
        place_BxCxT = (length_BxCx1 - 1 - jnp.arange(self.depth)) % self.depth
        return jnp.take_along_axis(upwards_BxCxT, place_BxCxT, axis=-1)

    def node_mask(self, sequence_indices_BxC: Int[Array, "B C"]) -> Bool[Array, "B N"]:
        """The nodes on the paths of the given sequences, to restrict a search to them.

        The indices are filled up with -1, a row an example; one row serves all examples of a batch.
        The mask is `allowed_BxN` of `beam_decode`. Its shape depends on the trie only, so another
        subset needs no compilation of the search.
        """
        given_BxC = sequence_indices_BxC >= 0
        node_BxC = jnp.where(given_BxC, self.leaf_S[sequence_indices_BxC], 0)
        row_Bx1 = jnp.arange(node_BxC.shape[0])[:, None]

        def mark(_: int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            allowed_BxN, node_BxC = carry
            return allowed_BxN.at[row_Bx1, node_BxC].set(True), self.parent_N[node_BxC]

        nothing_BxN = jnp.zeros((node_BxC.shape[0], self.num_nodes), bool)
        allowed_BxN, _ = jax.lax.fori_loop(0, self.depth, mark, (nothing_BxN, node_BxC))
        return allowed_BxN


def _check(tokens: np.ndarray, lengths_S: np.ndarray, eos_id: int) -> None:
    if lengths_S.size == 0:
        raise UserError("a trie needs at least one token sequence; the catalogue is empty")
    if lengths_S.min() < 1:
        raise UserError(f"sequence {int(lengths_S.argmin())} of the trie has no tokens")
    wrong = (tokens <= 0) | (tokens == eos_id)
    if wrong.any():
        at = int(wrong.argmax())
        sequence = int(np.searchsorted(np.cumsum(lengths_S), at, side="right"))
        raise UserError(
            f"sequence {sequence} of the trie holds token {int(tokens[at])}; "
            f"padding (0), EOS ({eos_id}) and negative numbers cannot be part of an ID"
        )


def _padded(tokens: np.ndarray, lengths_S: np.ndarray, eos_id: int) -> np.ndarray:
    """A row a sequence: its tokens, EOS, then 0, which sorts before every token."""
    column = np.arange(lengths_S.max() + 1)
    tokens_SxT = np.zeros((lengths_S.size, column.size), np.int32)
    tokens_SxT[column < lengths_S[:, None]] = tokens
    tokens_SxT[np.arange(lengths_S.size), lengths_S] = eos_id
    return tokens_SxT


def _widths(first_child_N1: np.ndarray) -> tuple[int, ...]:
    """The largest number of children of a node, level by level; the last level has leaves alone."""
    children_N = np.diff(first_child_N1)
    widths, start, end = [], 0, 1
    while start < end:
        widths.append(int(children_N[start:end].max()))
        start, end = end, end + int(children_N[start:end].sum())
    return tuple(widths)


def _shared_prefix(first_child_N1: np.ndarray) -> int:
    """Levels of one node before the first that branches; a single sequence's EOS is not one."""
    levels = 0
    while first_child_N1[levels + 1] - first_child_N1[levels] == 1:
        levels += 1
        if first_child_N1[levels + 1] == first_child_N1[levels]:
            return levels - 1
    return levels


def _level_order(
    sorted_SxT: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Numbers the distinct prefixes of sorted sequences, one level after the other.

    Returns first_child_N1, token_N, parent_N and the leaf of each sequence.
    """
    rows = sorted_SxT.shape[0]
    node_S = np.zeros(rows, np.int64)  # The node of each sequence's prefix at the level before.
    starts_S = np.zeros(rows, bool)  # Where a prefix differs from that of the row above.
    starts_S[0] = True
    tokens, parents = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)]
    count = 1
    for token_S in sorted_SxT.T:
        starts_S[1:] |= token_S[1:] != token_S[:-1]
        present_S = token_S != 0
        new_S = starts_S & present_S
        tokens.append(token_S[new_S])
        parents.append(node_S[new_S])
        node_S = np.where(present_S, count - 1 + np.cumsum(new_S), node_S)
        count += int(new_S.sum())
    parent_N = np.concatenate(parents)
    children_N = np.bincount(parent_N[1:], minlength=count)
    first_child_N1 = 1 + np.concatenate([[0], np.cumsum(children_N)])
    return first_child_N1, np.concatenate(tokens), parent_N, node_S
