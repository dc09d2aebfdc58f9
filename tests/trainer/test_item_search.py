"""Which nodes of a trie a request searches, counted on the host."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.model.trie import Trie
from recalign.trainer.item_index import Query
from recalign.trainer.item_search import Nodes

EOS = 1
SEQUENCES = st.lists(
    st.lists(st.integers(2, 5), min_size=1, max_size=4).map(tuple),
    min_size=1, max_size=12, unique=True,
)  # fmt: skip


def paths_of(trie):
    """The tokens on the way to each node."""
    parents, tokens = np.asarray(trie.parent_N), np.asarray(trie.token_N)
    paths = [()]
    for node in range(1, trie.num_nodes):
        paths.append((*paths[parents[node]], int(tokens[node])))
    return paths


@settings(deadline=None, max_examples=60)
@given(SEQUENCES, st.data())
def test_the_nodes_lead_to_what_is_left(sequences, data):
    """A node is searched where an item that may be answered begins with what leads to the node."""
    trie, count = Trie.from_sequences(sequences), len(sequences)
    everything = np.arange(count)
    subset = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    choices = [
        Query((), np.array(sorted(data.draw(st.sets(st.integers(0, count - 1)))), int), allowed, 1)
        for allowed in (None, subset, None, subset)
    ]
    left = [
        np.setdiff1d(everything if it.allowed is None else everything[it.allowed], it.left_out)
        for it in choices
    ]
    paths = paths_of(trie)
    found = Nodes(trie).of(choices)
    for row, items in enumerate(left):
        np.testing.assert_array_equal(np.flatnonzero(choices[row].mask(count)), items)
        texts = [(*sequences[item], EOS) for item in items]
        expected = [any(it[: len(path)] == path for it in texts) for path in paths]
        assert found[row, 1:].tolist() == expected[1:]  # no search asks whether it may begin
