"""Exact scores of candidates against teacher forcing by the training network."""

import jax
import numpy as np
import pytest

from recalign.model.decode import NO_BEAM
from recalign.model.score import rank_candidates, score_candidates
from recalign.model.trie import Trie

from .conftest import ragged, tiny_config
from .searching import EOS, padded, penalised, teacher_forced

pytestmark = pytest.mark.usefixtures("quick_compilation")

PROMPTS, RANKED, ITEMS, POOL = 100, 20, 500, 20
TOLERANCE = 1e-4  # of log-probabilities around -15, in float32
# IDs of two to four tokens that all begin alike, some the prefixes of others.
PAIRS = np.random.default_rng(12).permutation(1600)[:400]
CATALOGUE = [(44, 2 + int(pair) // 40, 2 + int(pair) % 40) for pair in PAIRS]
CATALOGUE += [(*item, 45) for item in CATALOGUE[:80]] + [(44, first) for first in range(2, 22)]

score = jax.jit(score_candidates, static_argnames="config")
rank = jax.jit(rank_candidates, static_argnames=("config", "alpha"))


@pytest.fixture(scope="module")
def trie():
    return Trie.from_sequences(CATALOGUE, EOS)


@pytest.fixture(scope="module")
def prompts():
    lengths = np.random.default_rng(9).integers(3, 11, PROMPTS).tolist()
    return ragged(PROMPTS, 10, lengths, seed=4)


@pytest.fixture(scope="module")
def expected(config, params, prompts, trie):
    """Of every item for every prompt: [B, S]."""
    assert len(CATALOGUE) == ITEMS and trie.shared_prefix == 1
    return teacher_forced(config, params, prompts, padded(CATALOGUE, trie.depth)).sum(-1)


def test_each_prompt_has_its_own_candidates(config, params, prompts, trie, expected):
    draws = np.random.default_rng(3)
    pools_BxC = np.stack([draws.choice(ITEMS, POOL, replace=False) for _ in range(PROMPTS)])
    pools_BxC[5, 3:] = -1
    pools_BxC[6] = -1
    found = score(params, config, prompts, trie, pools_BxC)
    of_pool = np.where(pools_BxC < 0, NO_BEAM, np.take_along_axis(expected, pools_BxC, axis=1))
    np.testing.assert_allclose(found, of_pool, atol=TOLERANCE)
    assert score._cache_size() == 1
    # Other candidates need no compilation.
    pools_BxC = pools_BxC[::-1]
    of_pool = np.where(pools_BxC < 0, NO_BEAM, np.take_along_axis(expected, pools_BxC, axis=1))
    found = score(params, config, prompts, trie, pools_BxC)
    np.testing.assert_allclose(found, of_pool, atol=TOLERANCE)
    assert score._cache_size() == 1


def test_the_whole_catalogue_ranked(config, params, prompts, trie, expected):
    all_1xC = np.append(np.arange(ITEMS), -1)[None]
    beams = jax.tree.map(
        lambda *parts: np.concatenate(parts),
        *(rank(params, config, part, trie, all_1xC) for part in np.split(prompts[:RANKED], 4)),
    )
    tokens_SxT = padded(CATALOGUE, trie.depth)
    scores = penalised(expected[:RANKED], tokens_SxT)
    np.testing.assert_allclose(beams.scores_BxK[:, 1:], np.sort(scores, axis=1), atol=TOLERANCE)
    # The filler is the first.
    assert (beams.scores_BxK[:, 0] == NO_BEAM).all() and (
        beams.log_probs_BxK[:, 0] == NO_BEAM
    ).all()
    assert (beams.tokens_BxKxT[:, 0] == 0).all()
    number_of = {tuple(row): number for number, row in enumerate(tokens_SxT.tolist())}
    for row in range(RANKED):
        numbers = [number_of[tuple(beam)] for beam in beams.tokens_BxKxT[row, 1:].tolist()]
        assert len(set(numbers)) == ITEMS
        np.testing.assert_allclose(
            beams.log_probs_BxK[row, 1:], expected[row, numbers], atol=TOLERANCE
        )


def test_yes_and_no(config, params, prompts):
    """Two answers of one row for all prompts; they share no beginning. And one without rival."""
    yes, no = (7,), (9, 11)
    expected = teacher_forced(config, params, prompts[:9], padded([yes, no])).sum(-1)
    found = score(
        params, config, prompts[:9], Trie.from_sequences([no, yes], EOS), np.array([[1, 0]])
    )
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)
    found = score(params, config, prompts[:9], Trie.from_sequences([no], EOS), np.array([[0]]))
    np.testing.assert_allclose(found, expected[:, 1:], atol=TOLERANCE)


def test_bfloat16_log_probs_stay_near(config, params, inputs_BxL):
    """bfloat16 has 8 bits of mantissa: about 0.05 nats a token on these unscaled random weights."""
    tokens_BxT = ragged(3, 4, [4, 2, 3], seed=8, eos=True)
    exact = teacher_forced(config, params, inputs_BxL, tokens_BxT[:, None]).sum(-1)
    trie = Trie.from_sequences([row[: list(row).index(EOS)].tolist() for row in tokens_BxT], EOS)
    found = score(params, tiny_config(dtype="bfloat16"), inputs_BxL, trie, np.arange(3)[:, None])
    np.testing.assert_allclose(found, exact, atol=0.5)
