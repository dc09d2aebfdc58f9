"""The trie against a dictionary of prefixes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.errors import UserError
from recalign.model.trie import Trie

pytestmark = pytest.mark.usefixtures("quick_compilation")

EOS = 1
SEQUENCES = st.lists(st.lists(st.integers(2, 6), min_size=1, max_size=4), min_size=1, max_size=12)


def _followers(sequences):
    """prefix -> the tokens that may follow it."""
    followers = {}
    for sequence in sequences:
        for length, token in enumerate([*sequence, EOS]):
            followers.setdefault(tuple(sequence[:length]), set()).add(token)
    return followers


class _Tree:
    """A trie's children, all looked up at once."""

    def __init__(self, trie, allowed=None):
        lookup = jax.jit(lambda trie: trie.children(jnp.arange(trie.num_nodes)[None], allowed))
        child_NxM, valid_NxM = (np.asarray(array[0]) for array in lookup(trie))
        token_N = np.asarray(trie.token_N)
        self._children = [
            [(int(token_N[node]), int(node)) for node in child[valid]]
            for child, valid in zip(child_NxM, valid_NxM, strict=True)
        ]

    def followers(self, prefix):
        node = 0
        for token in prefix:
            node = dict(self._children[node])[token]
        tokens = [token for token, _ in self._children[node]]
        assert len(set(tokens)) == len(tokens)
        return set(tokens)


def _mask(trie, indices):
    return jax.jit(lambda trie: trie.node_mask(jnp.asarray([indices])))(trie)


@settings(max_examples=8)
@given(SEQUENCES)
def test_every_prefix_has_exactly_its_followers(sequences):
    trie = Trie.from_sequences(sequences, EOS)
    followers, tree = _followers(sequences), _Tree(trie)
    for prefix, tokens in followers.items():
        assert tree.followers(prefix) == tokens
    # One node a prefix, complete sequences with EOS included.
    assert trie.num_nodes == len({*followers, *((*s, EOS) for s in sequences)})
    assert trie.depth == max(map(len, sequences)) + 1
    assert trie.widths == tuple(
        max((len(t) for p, t in followers.items() if len(p) == level), default=0)
        for level in range(trie.depth + 1)
    )


@settings(max_examples=8)
@given(SEQUENCES, st.data())
def test_a_subset_is_the_trie_of_the_subset(sequences, data):
    chosen = data.draw(st.lists(st.integers(0, len(sequences) - 1), min_size=1, max_size=5))
    trie = Trie.from_sequences(sequences, EOS)
    tree = _Tree(trie, _mask(trie, [*chosen, -1, -1]))
    for prefix, tokens in _followers([sequences[i] for i in chosen]).items():
        assert tree.followers(prefix) == tokens


def test_a_prefix_that_is_not_in_the_subset_may_not_end():
    trie = Trie.from_sequences([[5], [5, 6]], EOS)
    assert _Tree(trie).followers([5]) == {EOS, 6}
    assert _Tree(trie, _mask(trie, [1])).followers([5]) == {6}


@pytest.mark.parametrize(
    "sequences, length",
    [
        ([[7, 8, 3], [7, 8, 4, 2]], 2),
        ([[7], [7, 8]], 1),  # EOS and 8 may follow
        ([[7, 8]], 2),
        ([[7, 8], [6, 8]], 0),
    ],
)
def test_the_prefix_that_all_sequences_share(sequences, length):
    assert Trie.from_sequences(sequences, EOS).shared_prefix == length


@pytest.mark.parametrize(
    "sequences, message",
    [
        ([], "catalogue is empty"),
        ([[3], []], "sequence 1 of the trie has no tokens"),
        ([[3, 4], [5, 0]], "sequence 1 of the trie holds token 0"),
        ([[3, EOS]], "sequence 0 of the trie holds token 1"),
    ],
)
def test_what_cannot_be_an_id_is_named(sequences, message):
    with pytest.raises(UserError, match=message):
        Trie.from_sequences(sequences, EOS)


def test_the_sequences_themselves():
    sequences = [(5, 6), (7,), (5, 6, 8), (5,)]
    trie = Trie.from_sequences(sequences, EOS)
    found = trie.tokens(jnp.array([[2, -1, 1], [0, 3, 0]]))
    np.testing.assert_array_equal(
        found,
        [
            [[5, 6, 8, EOS], [0, 0, 0, 0], [7, EOS, 0, 0]],
            [[5, 6, EOS, 0], [5, EOS, 0, 0], [5, 6, EOS, 0]],
        ],
    )
