"""Beam search against teacher forcing, greedy choice and brute force."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recalign.errors import UserError
from recalign.model.decode import beam_decode
from recalign.model.network import Transformer
from recalign.model.score import score_sequences
from recalign.model.trie import Trie

from .conftest import EOS, ragged, tiny_config

pytestmark = pytest.mark.usefixtures("quick_compilation")

# IDs of different lengths, some the prefixes of others.
CATALOGUE = sorted(
    {
        tuple(row[: 1 + row[-1] % 4])
        for row in np.random.default_rng(3).integers(2, 12, (160, 5)).tolist()
    }
    | {(9,), (9, 4), (9, 4, 7)}
)
LENGTH = 6


def _padded(sequences):
    tokens_SxT = np.zeros((len(sequences), LENGTH), np.int32)
    for row, sequence in enumerate(sequences):
        tokens_SxT[row, : len(sequence) + 1] = [*sequence, EOS]
    return tokens_SxT


def _teacher_forced(config, params, inputs_BxL, tokens_BxSxT):
    """The log-probability of each sequence of each example by the training network: [B, S]."""
    model = Transformer(config)

    def one(inputs_L, tokens_SxT):
        inputs_SxL = jnp.broadcast_to(inputs_L, (len(tokens_SxT), len(inputs_L)))
        read_SxT = jnp.pad(tokens_SxT[:, :-1], ((0, 0), (1, 0)))
        log_probs = jax.nn.log_softmax(model.apply({"params": params}, inputs_SxL, read_SxT))
        at_target = jnp.take_along_axis(log_probs, tokens_SxT[..., None], axis=-1)[..., 0]
        return jnp.sum(jnp.where(tokens_SxT > 0, at_target, 0), axis=1)

    tokens_BxSxT = jnp.broadcast_to(tokens_BxSxT, (len(inputs_BxL), *tokens_BxSxT.shape[-2:]))
    return np.asarray(jax.jit(jax.vmap(one))(inputs_BxL, tokens_BxSxT))


def _search(config, params, inputs_BxL, **kwargs):
    settings = {"beam_size": 4, "max_decode_len": LENGTH, **kwargs}
    arrays = {name: settings.pop(name) for name in ("trie", "allowed_BxN") if name in settings}
    return jax.jit(lambda p, e, arrays: beam_decode(p, config, e, **arrays, **settings))(
        params, inputs_BxL, arrays
    )


def _brute_force(config, params, inputs_BxL, sequences, alpha=0.6):
    tokens_SxT = _padded(sequences)
    log_probs_BxS = _teacher_forced(config, params, inputs_BxL, tokens_SxT)
    scores_BxS = log_probs_BxS / ((5 + (tokens_SxT > 0).sum(1)) / 6) ** alpha
    order_BxS = np.argsort(scores_BxS, axis=1)
    return tokens_SxT[order_BxS], np.take_along_axis(scores_BxS, order_BxS, axis=1)


def test_log_probs_are_those_of_teacher_forcing(config, params, inputs_BxL):
    beams = _search(config, params, inputs_BxL)
    assert (np.asarray(beams.tokens_BxKxT) == EOS).any()
    expected = _teacher_forced(config, params, inputs_BxL, beams.tokens_BxKxT)
    exists = np.asarray(beams.scores_BxK) > -1e6
    np.testing.assert_allclose(beams.log_probs_BxK[exists], expected[exists], atol=2e-5)
    assert exists.sum() >= 6


def test_scores_of_given_sequences_are_those_of_teacher_forcing(config, params, inputs_BxL):
    tokens_SxT = _padded(CATALOGUE)
    score = jax.jit(lambda p, e, t: score_sequences(p, config, e, t))
    scores = score(params, inputs_BxL, tokens_SxT[None])
    expected = _teacher_forced(config, params, inputs_BxL, tokens_SxT)
    np.testing.assert_allclose(scores, expected, atol=2e-5)
    own_rows = jnp.asarray(np.stack([tokens_SxT[:2], tokens_SxT[2:4], tokens_SxT[4:6]]))
    np.testing.assert_allclose(
        score(params, inputs_BxL, own_rows),
        [expected[0, :2], expected[1, 2:4], expected[2, 4:6]],
        atol=2e-5,
    )


def test_one_beam_is_the_greedy_choice(config, params, inputs_BxL):
    beams = _search(config, params, inputs_BxL, beam_size=1)
    model = Transformer(config)
    logits = jax.jit(lambda read_BxT: model.apply({"params": params}, inputs_BxL, read_BxT))
    read_BxT = np.zeros((3, LENGTH + 1), np.int32)
    for position in range(LENGTH):
        # A beam that could end but does not, lives on: the best token other than EOS.
        best_B = jnp.argmax(logits(read_BxT)[:, position].at[:, EOS].set(-jnp.inf), axis=-1)
        read_BxT[:, position + 1] = best_B
        for row in range(3):
            assert beams.tokens_BxKxT[row, 0, position] in (0, EOS, int(best_B[row]))


@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_all_sequences_of_a_small_vocabulary_in_order(inputs_BxL, alpha):
    """With as many beams as prefixes, beam search is exhaustive."""
    config = tiny_config(vocab_size=5, num_encoder_layers=1, num_decoder_layers=1)
    tokens = jnp.minimum(inputs_BxL, 4)
    params = Transformer(config).init(jax.random.key(4), tokens, tokens)["params"]
    trie = Trie.from_sequences(
        [s for n in (1, 2, 3) for s in itertools.product([2, 3, 4], repeat=n)], EOS
    )
    beams = _search(config, params, tokens, beam_size=39, alpha=alpha, trie=trie)
    sequences = [s for n in (1, 2, 3) for s in itertools.product([2, 3, 4], repeat=n)]
    expected_tokens, expected_scores = _brute_force(config, params, tokens, sequences, alpha)
    np.testing.assert_array_equal(beams.tokens_BxKxT, expected_tokens)
    np.testing.assert_allclose(beams.scores_BxK, expected_scores, atol=2e-5)


def test_constrained_beams_are_brute_force_over_the_catalogue(config, params, inputs_BxL):
    trie = Trie.from_sequences(CATALOGUE, EOS)
    K = len(CATALOGUE) + 5
    beams = _search(config, params, inputs_BxL, beam_size=K, trie=trie)
    expected_tokens, expected_scores = _brute_force(config, params, inputs_BxL, CATALOGUE)
    np.testing.assert_array_equal(beams.tokens_BxKxT[:, 5:], expected_tokens)
    np.testing.assert_allclose(beams.scores_BxK[:, 5:], expected_scores, atol=2e-5)
    # More beams than sequences: fillers first.
    assert (np.asarray(beams.tokens_BxKxT[:, :5]) == 0).all()
    np.testing.assert_array_equal(beams.scores_BxK[:, :5], np.full((3, 5), -1e7))
    np.testing.assert_array_equal(beams.log_probs_BxK[:, :5], np.full((3, 5), -1e7))


def test_few_constrained_beams_are_valid_and_rightly_scored(config, params, inputs_BxL):
    trie = Trie.from_sequences(CATALOGUE, EOS)
    beams = _search(config, params, inputs_BxL, beam_size=6, trie=trie)
    scores = score_sequences(params, config, inputs_BxL, beams.tokens_BxKxT)
    np.testing.assert_allclose(beams.log_probs_BxK, scores, atol=2e-5)
    for example in np.asarray(beams.tokens_BxKxT):
        found = [tuple(row[: list(row).index(EOS)].tolist()) for row in example]
        assert set(found) <= set(CATALOGUE) and len(set(found)) == 6


def test_each_example_has_its_own_subset(config, params, inputs_BxL):
    trie = Trie.from_sequences(CATALOGUE, EOS)
    nine = CATALOGUE.index((9,))
    longest = CATALOGUE.index((9, 4, 7))
    subsets = np.array([[0, 1, 2, 3], [longest, nine, -1, -1], [longest, -1, -1, -1]])
    beams = _search(
        config, params, inputs_BxL, trie=trie, allowed_BxN=trie.node_mask(jnp.asarray(subsets))
    )
    all_tokens, all_scores = _brute_force(config, params, inputs_BxL, CATALOGUE)
    for row, subset in enumerate(subsets):
        allowed = _padded([CATALOGUE[i] for i in subset if i >= 0])
        kept = (all_tokens[row][:, None] == allowed).all(-1).any(-1)
        fillers = 4 - len(allowed)
        np.testing.assert_array_equal(beams.tokens_BxKxT[row, fillers:], all_tokens[row][kept])
        np.testing.assert_allclose(
            beams.scores_BxK[row, fillers:], all_scores[row][kept], atol=2e-5
        )
        assert (np.asarray(beams.scores_BxK[row, :fillers]) == -1e7).all()


def test_one_subset_for_all_and_no_compilation_for_another(config, params, inputs_BxL):
    trie = Trie.from_sequences(CATALOGUE, EOS)
    search = jax.jit(
        lambda p, e, trie, allowed: beam_decode(
            p, config, e, beam_size=2, max_decode_len=LENGTH, trie=trie, allowed_BxN=allowed
        )
    )
    for subset in ([3, 8, 11], [20, 4, -1]):
        beams = search(params, inputs_BxL, trie, trie.node_mask(jnp.asarray([subset])))
        valid = {tuple(row) for row in _padded([CATALOGUE[i] for i in subset if i >= 0]).tolist()}
        assert {
            tuple(row) for row in np.asarray(beams.tokens_BxKxT).reshape(-1, LENGTH).tolist()
        } <= valid
    assert search._cache_size() == 1


def test_the_short_normaliser_ranks_by_the_same_logits(config, params, inputs_BxL):
    """All log-probabilities are conditional on the trie's tokens: 10 pieces and EOS."""
    trie = Trie.from_sequences(CATALOGUE, EOS)
    beams = _search(config, params, inputs_BxL, trie=trie, exact_log_probs=False)
    kernel = params["decoder"]["logits_dense"]["kernel"]
    others = np.setdiff1d(np.arange(48), np.asarray(trie.used_token_U))
    model = Transformer(config)
    tokens = beams.tokens_BxKxT[0]
    logits = model.apply(
        {"params": params},
        jnp.broadcast_to(inputs_BxL[0], (4, inputs_BxL.shape[1])),
        jnp.pad(tokens[:, :-1], ((0, 0), (1, 0))),
    )
    log_probs = jax.nn.log_softmax(logits.at[..., others].set(-jnp.inf))
    expected = jnp.take_along_axis(log_probs, tokens[..., None], axis=-1)[..., 0]
    expected = jnp.sum(jnp.where(tokens > 0, expected, 0), axis=1)
    assert kernel.shape[1] > len(trie.used_token_U)
    np.testing.assert_allclose(beams.log_probs_BxK[0], expected, atol=2e-5)


def test_padding_of_inputs_changes_no_beam(config, params, inputs_BxL):
    beams = _search(config, params, inputs_BxL)
    padded = _search(config, params, jnp.pad(inputs_BxL, ((0, 1), (0, 6))))
    np.testing.assert_array_equal(padded.tokens_BxKxT[:3], beams.tokens_BxKxT)
    np.testing.assert_allclose(padded.scores_BxK[:3], beams.scores_BxK, atol=2e-5)


def test_unrolled_layers_give_the_same_beams(config, params, inputs_BxL):
    beams = _search(config, params, inputs_BxL)
    unrolled = _search(tiny_config(unroll_layers=True), params, inputs_BxL)
    np.testing.assert_array_equal(unrolled.tokens_BxKxT, beams.tokens_BxKxT)


def test_bfloat16_log_probs_stay_near(params, inputs_BxL):
    """bfloat16 has 8 bits of mantissa: about 0.05 nats a token on these unscaled random weights."""
    config = tiny_config()
    tokens = jnp.asarray(ragged(3, 4, [4, 2, 3], seed=8, eos=True))[:, None]
    exact = score_sequences(params, config, inputs_BxL, tokens)
    rounded = score_sequences(params, tiny_config(dtype="bfloat16"), inputs_BxL, tokens)
    np.testing.assert_allclose(rounded, exact, atol=0.5)


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
            allowed_BxN=trie.node_mask(jnp.asarray([[0]])),
        )
