"""Constrained beams of 100 prompts against brute force over a catalogue of 500 items.

What equals what: with as many beams as items nothing is pruned, and the beams are all items in
the order of their scores. Twenty beams are the twenty best items among those whose prefixes are
among the twenty best prefixes of their length, which is what beam search promises; here an
enumeration of all prefixes by NumPy says which those are. They are the catalogue's twenty best
wherever none of those has lost a prefix.
"""

import jax
import numpy as np
import pytest

from recalign.model.names import from_t5x
from recalign.model.trie import Trie

from .conftest import ragged, seeded_weights, tiny_config
from .searching import EOS, padded, penalised, search, teacher_forced

PROMPTS, ITEMS, BEAMS, LENGTH = 100, 500, 20, 5
# As the real ones, all begin alike. Two tokens out of 40 follow; a hundred IDs go on with a third.
PAIRS = np.random.default_rng(12).permutation(1600)[:400]
CATALOGUE = [(44, 2 + int(pair) // 40, 2 + int(pair) % 40) for pair in PAIRS]
CATALOGUE += [(*item, 45) for item in CATALOGUE[:100]]


@pytest.fixture(scope="module")
def config():
    """One layer and head: 500 beams look at all that any of them has read."""
    return tiny_config(num_decoder_layers=1, num_heads=1)


@pytest.fixture(scope="module")
def params(config):
    return from_t5x(seeded_weights(config, of_order_one=True))


@pytest.fixture(scope="module")
def prompts():
    lengths = np.random.default_rng(9).integers(3, 11, PROMPTS).tolist()
    return ragged(PROMPTS, 10, lengths, seed=4)


@pytest.fixture(scope="module")
def token_log_probs(config, params, prompts):
    """Of every token of every item for every prompt: [B, S, T]."""
    return teacher_forced(config, params, prompts, padded(CATALOGUE, LENGTH))


@pytest.fixture(scope="module")
def scores(token_log_probs):
    return penalised(token_log_probs.sum(-1), padded(CATALOGUE, LENGTH))


def _search(config, params, prompts, beam_size):
    trie = Trie.from_sequences(CATALOGUE, EOS)
    beams = jax.tree.map(
        lambda *parts: np.concatenate(parts),
        *(
            search(config, params, part, beam_size=beam_size, max_decode_len=LENGTH, trie=trie)
            for part in np.split(prompts, 10)
        ),
    )
    number_of = {
        tuple(row): number for number, row in enumerate(padded(CATALOGUE, LENGTH).tolist())
    }
    numbers = [[number_of[tuple(beam)] for beam in rows] for rows in beams.tokens_BxKxT.tolist()]
    assert all(len(set(row)) == beam_size for row in numbers)
    return np.array(numbers), beams.scores_BxK


def test_as_many_beams_as_items(config, params, prompts, scores, tolerance):
    numbers, found = _search(config, params, prompts, ITEMS)
    np.testing.assert_allclose(found, np.sort(scores, axis=1), atol=tolerance)
    np.testing.assert_allclose(found, np.take_along_axis(scores, numbers, axis=1), atol=tolerance)


def test_twenty_beams(config, params, prompts, token_log_probs, scores, tolerance):
    numbers, found = _search(config, params, prompts, BEAMS)
    np.testing.assert_allclose(found, np.take_along_axis(scores, numbers, axis=1), atol=tolerance)
    survives = _survivors(token_log_probs)
    for row in range(PROMPTS):
        best = np.sort(scores[row][survives[row]])[-BEAMS:]
        np.testing.assert_allclose(found[row], best, atol=tolerance)
        if survives[row][np.argsort(scores[row])[-BEAMS:]].all():
            np.testing.assert_allclose(found[row], np.sort(scores[row])[-BEAMS:], atol=tolerance)


def _survivors(token_log_probs):
    """Which items keep all their prefixes among the best twenty of their length: [B, S]."""
    survives = np.ones((PROMPTS, ITEMS), bool)
    for row, log_probs_SxT in enumerate(token_log_probs):
        for length in range(1, LENGTH):
            prefix_of = [item[:length] if len(item) >= length else None for item in CATALOGUE]
            log_prob_S = log_probs_SxT[:, :length].sum(1).tolist()
            alive = {
                prefix: log_prob_S[number]
                for number, prefix in enumerate(prefix_of)
                if prefix is not None and survives[row, number]
            }
            kept = set(sorted(alive, key=alive.get)[-BEAMS:])
            survives[row] &= [prefix is None or prefix in kept for prefix in prefix_of]
    return survives
