"""Beam search against teacher forcing, greedy choice and brute force."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recalign.errors import UserError
from recalign.model import decode
from recalign.model.decode import beam_decode
from recalign.model.names import from_t5x
from recalign.model.t5.transformer import Transformer
from recalign.model.trie import Trie

from .conftest import seeded_weights, tiny_config
from .searching import (
    EOS,
    LENGTH,
    brute_force,
    node_mask,
    padded,
    search,
    teacher_forced,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")

# IDs of different lengths, some the prefixes of others.
CATALOGUE = sorted(
    {
        tuple(row[: 1 + row[-1] % 4])
        for row in np.random.default_rng(3).integers(2, 12, (60, 5)).tolist()
    }
    | {(9,), (9, 4), (9, 4, 7)}
)
FILLERS = 5


@pytest.fixture(scope="module")
def trie():
    return Trie.from_sequences(CATALOGUE, EOS)


@pytest.fixture(scope="module")
def free_beams(config, params, inputs_BxL):
    return search(config, params, inputs_BxL)


@pytest.fixture(scope="module")
def all_beams(config, params, inputs_BxL, trie):
    """More beams than sequences."""
    return search(config, params, inputs_BxL, beam_size=len(CATALOGUE) + FILLERS, trie=trie)


@pytest.fixture(scope="module")
def expected(config, params, inputs_BxL):
    """The whole catalogue, scored and sorted."""
    return brute_force(config, params, inputs_BxL, CATALOGUE)


def test_log_probs_are_those_of_teacher_forcing(config, params, inputs_BxL, free_beams):
    assert (free_beams.tokens_BxKxT == EOS).any()
    exists = free_beams.scores_BxK > -1e6
    log_probs = teacher_forced(config, params, inputs_BxL, free_beams.tokens_BxKxT).sum(-1)
    np.testing.assert_allclose(free_beams.log_probs_BxK[exists], log_probs[exists], atol=2e-5)
    assert exists.sum() >= 6


def test_one_beam_is_the_greedy_choice(config, params, inputs_BxL):
    beams = search(config, params, inputs_BxL, beam_size=1)
    model = Transformer(config)
    logits = jax.jit(lambda read_BxT: model.apply({"params": params}, inputs_BxL, read_BxT))
    read_BxT = np.zeros((3, LENGTH + 1), np.int32)
    for position in range(LENGTH):
        # A beam that could end but does not, lives on: the best token other than EOS.
        logits_BxV = np.array(logits(read_BxT)[:, position])
        logits_BxV[:, EOS] = -np.inf
        read_BxT[:, position + 1] = best_B = np.argmax(logits_BxV, axis=-1)
        for row in range(3):
            token = beams.tokens_BxKxT[row, 0, position]
            ended = position and beams.tokens_BxKxT[row, 0, position - 1] in (0, EOS)
            assert token == 0 if ended else token in (EOS, int(best_B[row]))


@pytest.mark.parametrize("vocabulary", [5, 48, 64])
def test_parts_of_the_vocabulary_choose_as_the_whole(vocabulary):
    """Ties too: of equal log-probabilities the first beam's lowest token comes first."""
    draws = np.random.default_rng(vocabulary)
    logits_BxKxV = draws.integers(0, 3, (4, 3, vocabulary)).astype(np.float32)
    live_BxK = np.log(draws.integers(1, 3, (4, 3)).astype(np.float32))
    found = decode._any_token(jnp.asarray(logits_BxKxV), jnp.asarray(live_BxK), 8, most_parts=8)
    all_BxKV = (jax.nn.log_softmax(logits_BxKxV) + live_BxK[..., None]).reshape(4, -1)
    best, index = jax.lax.top_k(all_BxKV, 8)
    np.testing.assert_array_equal(found.log_probs, best)
    np.testing.assert_array_equal(found.tokens, index % vocabulary)
    np.testing.assert_array_equal(found.beams, index // vocabulary)


@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_all_sequences_of_a_small_vocabulary_in_order(inputs_BxL, alpha):
    """With as many beams as prefixes, beam search is exhaustive."""
    config = tiny_config(vocab_size=5, num_encoder_layers=1, num_decoder_layers=1)
    params, tokens = from_t5x(seeded_weights(config)), jnp.minimum(inputs_BxL, 4)
    sequences = [s for n in (1, 2, 3) for s in itertools.product([2, 3, 4], repeat=n)]
    trie = Trie.from_sequences(sequences, EOS)
    beams = search(config, params, tokens, beam_size=39, alpha=alpha, trie=trie)
    expected_tokens, expected_scores = brute_force(config, params, tokens, sequences, alpha)
    np.testing.assert_array_equal(beams.tokens_BxKxT, expected_tokens)
    np.testing.assert_allclose(beams.scores_BxK, expected_scores, atol=2e-5)


def test_constrained_beams_are_brute_force_over_the_catalogue(all_beams, expected):
    expected_tokens, expected_scores = expected
    np.testing.assert_array_equal(all_beams.tokens_BxKxT[:, FILLERS:], expected_tokens)
    np.testing.assert_allclose(all_beams.scores_BxK[:, FILLERS:], expected_scores, atol=2e-5)
    # More beams than sequences: fillers first.
    assert (all_beams.tokens_BxKxT[:, :FILLERS] == 0).all()
    assert (all_beams.scores_BxK[:, :FILLERS] == -1e7).all()
    assert (all_beams.log_probs_BxK[:, :FILLERS] == -1e7).all()


def test_few_constrained_beams_are_valid_and_rightly_scored(config, params, inputs_BxL, trie):
    beams = search(config, params, inputs_BxL, trie=trie)
    log_probs = teacher_forced(config, params, inputs_BxL, beams.tokens_BxKxT).sum(-1)
    np.testing.assert_allclose(beams.log_probs_BxK, log_probs, atol=2e-5)
    for example in beams.tokens_BxKxT:
        found = [tuple(row[: list(row).index(EOS)].tolist()) for row in example]
        assert set(found) <= set(CATALOGUE) and len(set(found)) == 4


def test_each_example_has_its_own_subset(config, params, inputs_BxL, trie, expected):
    nine, longest = CATALOGUE.index((9,)), CATALOGUE.index((9, 4, 7))
    subsets = np.array([[0, 1, 2, 3], [longest, nine, -1, -1], [longest, -1, -1, -1]])
    beams = search(
        config, params, inputs_BxL, trie=trie, allowed_BxN=node_mask(trie, jnp.asarray(subsets))
    )
    for row, subset in enumerate(subsets):
        allowed = padded([CATALOGUE[i] for i in subset if i >= 0])
        kept = (expected[0][row][:, None] == allowed).all(-1).any(-1)
        fillers = 4 - len(allowed)
        np.testing.assert_array_equal(beams.tokens_BxKxT[row, fillers:], expected[0][row][kept])
        np.testing.assert_allclose(
            beams.scores_BxK[row, fillers:], expected[1][row][kept], atol=2e-5
        )
        assert (beams.scores_BxK[row, :fillers] == -1e7).all()


def test_one_subset_for_all_and_no_compilation_for_another(config, params, inputs_BxL, trie):
    compiled = jax.jit(
        lambda p, e, trie, allowed: beam_decode(
            p, config, e, beam_size=2, max_decode_len=LENGTH, trie=trie, allowed_BxN=allowed
        )
    )
    for subset in ([3, 8, 11], [20, 4, -1]):
        beams = compiled(params, inputs_BxL, trie, node_mask(trie, jnp.asarray([subset])))
        valid = {tuple(row) for row in padded([CATALOGUE[i] for i in subset if i >= 0]).tolist()}
        assert {
            tuple(row) for row in np.asarray(beams.tokens_BxKxT).reshape(-1, LENGTH).tolist()
        } <= valid
    assert compiled._cache_size() == 1


def test_a_catalogue_of_one(config, params, inputs_BxL):
    beams = search(config, params, inputs_BxL, trie=Trie.from_sequences([(5, 6)], EOS))
    expected_tokens, expected_scores = brute_force(config, params, inputs_BxL, [(5, 6)])
    np.testing.assert_array_equal(beams.tokens_BxKxT[:, 3:], expected_tokens)
    np.testing.assert_allclose(beams.scores_BxK[:, 3:], expected_scores, atol=2e-5)
    assert (beams.scores_BxK[:, :3] == -1e7).all()


def test_padding_of_inputs_changes_no_beam(config, params, inputs_BxL, free_beams):
    beams = search(config, params, jnp.pad(inputs_BxL, ((0, 1), (0, 6))))
    np.testing.assert_array_equal(beams.tokens_BxKxT[:3], free_beams.tokens_BxKxT)
    np.testing.assert_allclose(beams.scores_BxK[:3], free_beams.scores_BxK, atol=2e-5)


def test_unrolled_layers_give_the_same_beams(params, inputs_BxL, free_beams):
    beams = search(tiny_config(unroll_layers=True), params, inputs_BxL)
    np.testing.assert_array_equal(beams.tokens_BxKxT, free_beams.tokens_BxKxT)


def test_ids_longer_than_the_output_are_refused(config, params, inputs_BxL):
    trie = Trie.from_sequences([[2, 3, 4, 5]], EOS)
    with pytest.raises(UserError, match="5 tokens with EOS, more than max_decode_len 4"):
        beam_decode(params, config, inputs_BxL, beam_size=2, max_decode_len=4, trie=trie)
    with pytest.raises(UserError, match="none was given"):
        beam_decode(
            params,
            config,
            inputs_BxL,
            beam_size=2,
            max_decode_len=4,
            allowed_BxN=jnp.ones((1, 6), bool),
        )
