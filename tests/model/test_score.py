"""Exact scores of candidates against teacher forcing by the training network."""

import jax
import numpy as np
import pytest

from recalign.model import score as scoring
from recalign.model.decode import NO_BEAM
from recalign.model.names import from_t5x
from recalign.model.score import score_candidates
from recalign.model.trie import Trie

from .conftest import ragged, seeded_weights, tiny_config
from .searching import EOS, padded, teacher_forced

pytestmark = pytest.mark.usefixtures("quick_compilation")

PROMPTS, ITEMS, POOL = 100, 500, 20
# IDs of two to four tokens that all begin alike, some the prefixes of others.
PAIRS = np.random.default_rng(12).permutation(1600)[:400]
CATALOGUE = [(44, 2 + int(pair) // 40, 2 + int(pair) % 40) for pair in PAIRS]
CATALOGUE += [(*item, 45) for item in CATALOGUE[:80]] + [(44, first) for first in range(2, 22)]

score = jax.jit(score_candidates, static_argnames="network")


@pytest.fixture(scope="module")
def params(config):
    return from_t5x(seeded_weights(config, of_order_one=True))


@pytest.fixture(scope="module")
def tolerance(tolerance):
    """Of log-probabilities: scores are divided by the penalty of their length."""
    return tolerance * ((5 + 5) / 6) ** 0.6


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


def test_each_prompt_has_its_own_candidates(config, params, prompts, trie, expected, tolerance):
    draws = np.random.default_rng(3)
    pools_BxC = np.stack([draws.choice(ITEMS, POOL, replace=False) for _ in range(PROMPTS)])
    pools_BxC[5, 3:] = -1
    pools_BxC[6] = -1
    found = score(params, config, prompts, trie, pools_BxC)
    of_pool = np.where(pools_BxC < 0, NO_BEAM, np.take_along_axis(expected, pools_BxC, axis=1))
    np.testing.assert_allclose(found, of_pool, atol=tolerance)
    assert score._cache_size() == 1
    # Other candidates need no compilation.
    pools_BxC = pools_BxC[::-1]
    of_pool = np.where(pools_BxC < 0, NO_BEAM, np.take_along_axis(expected, pools_BxC, axis=1))
    found = score(params, config, prompts, trie, pools_BxC)
    np.testing.assert_allclose(found, of_pool, atol=tolerance)
    assert score._cache_size() == 1


def test_a_large_pool_is_scored_in_parts(config, params, prompts, trie, monkeypatch):
    """The same as at once, in less memory: its logits are of a part."""
    draws = np.random.default_rng(4)
    pools_BxC = np.stack([draws.choice(ITEMS, 45, replace=False) for _ in range(PROMPTS)])
    pools_BxC[5, 3:] = -1

    given = (params, prompts, trie, pools_BxC)

    def compiled():
        score_pools = jax.jit(lambda params, *rest: score_candidates(params, config, *rest))
        return score_pools.lower(*given).compile()

    in_parts = compiled()
    monkeypatch.setattr(scoring, "_MOST_AT_ONCE", 45)
    at_once = compiled()
    np.testing.assert_allclose(in_parts(*given), at_once(*given), rtol=1e-6)
    in_parts, at_once = (it.memory_analysis().temp_size_in_bytes for it in (in_parts, at_once))
    assert in_parts < 0.6 * at_once


def test_one_row_serves_all_prompts(config, params, prompts, trie, expected, tolerance):
    found = score(params, config, prompts, trie, np.array([[499, -1, 0, 7]]))
    np.testing.assert_allclose(found[:, [0, 2, 3]], expected[:, [499, 0, 7]], atol=tolerance)
    assert (found[:, 1] == NO_BEAM).all()


def test_yes_and_no(config, params, prompts, tolerance):
    """Two answers of one row for all prompts; they share no beginning. And one without rival."""
    yes, no = (7,), (9, 11)
    expected = teacher_forced(config, params, prompts[:9], padded([yes, no])).sum(-1)
    found = score(
        params, config, prompts[:9], Trie.from_sequences([no, yes], EOS), np.array([[1, 0]])
    )
    np.testing.assert_allclose(found, expected, atol=tolerance)
    found = score(params, config, prompts[:9], Trie.from_sequences([no], EOS), np.array([[0]]))
    np.testing.assert_allclose(found, expected[:, 1:], atol=tolerance)


def test_bfloat16_log_probs_stay_near(config, params, inputs_BxL):
    """bfloat16 has 8 bits of mantissa: about 0.05 nats a token on these unscaled random weights."""
    tokens_BxT = ragged(3, 4, [4, 2, 3], seed=8, eos=True)
    exact = teacher_forced(config, params, inputs_BxL, tokens_BxT[:, None]).sum(-1)
    trie = Trie.from_sequences([row[: list(row).index(EOS)].tolist() for row in tokens_BxT], EOS)
    found = score(params, tiny_config(dtype="bfloat16"), inputs_BxL, trie, np.arange(3)[:, None])
    np.testing.assert_allclose(found, exact, atol=0.5)
