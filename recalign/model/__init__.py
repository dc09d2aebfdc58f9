"""T5 1.1 in JAX: the network, beam search, the trie of valid IDs, T5X's parameter names."""
