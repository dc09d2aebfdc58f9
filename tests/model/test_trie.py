"""The trie against a dictionary of prefixes."""

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


def _walk(trie, prefix, allowed=None):
    node = 0
    for token in prefix:
        child, valid = trie.children(np.array([[node]]), allowed)
        found = [
            c
            for c, v in zip(child[0, 0], valid[0, 0], strict=True)
            if v and trie.token_N[c] == token
        ]
        assert len(found) == 1
        node = int(found[0])
    child, valid = trie.children(np.array([[node]]), allowed)
    tokens = np.asarray(trie.token_N)[np.asarray(child[0, 0])[np.asarray(valid[0, 0])]]
    assert len(set(tokens.tolist())) == len(tokens)
    return set(tokens.tolist())


@settings(max_examples=8, deadline=None)
@given(SEQUENCES)
def test_every_prefix_has_exactly_its_followers(sequences):
    trie = Trie.from_sequences(sequences, EOS)
    followers = _followers(sequences)
    for prefix, tokens in followers.items():
        assert _walk(trie, prefix) == tokens
    # One node a prefix, complete sequences with EOS included.
    assert trie.num_nodes == len({*followers, *((*s, EOS) for s in sequences)})
    assert trie.depth == max(map(len, sequences)) + 1


@settings(max_examples=8, deadline=None)
@given(SEQUENCES, st.data())
def test_a_subset_is_the_trie_of_the_subset(sequences, data):
    chosen = data.draw(st.lists(st.integers(0, len(sequences) - 1), min_size=1, max_size=5))
    trie = Trie.from_sequences(sequences, EOS)
    allowed = trie.node_mask(np.array([[*chosen, -1, -1]]))
    for prefix, tokens in _followers([sequences[i] for i in chosen]).items():
        assert _walk(trie, prefix, allowed) == tokens


def test_a_prefix_that_is_not_in_the_subset_may_not_end():
    trie = Trie.from_sequences([[5], [5, 6]], EOS)
    assert _walk(trie, [5]) == {EOS, 6}
    assert _walk(trie, [5], trie.node_mask(np.array([[1]]))) == {6}


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
