"""Candidates that cannot be among the k likeliest are left out: the k likeliest stay the same."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign.model.contest import Contest
from recalign.model.decode import NO_BEAM, Beams
from recalign.model.names import from_t5x
from recalign.model.score import score_candidates
from recalign.model.trie import Trie

from .conftest import ragged, seeded_weights
from .searching import EOS, padded, search, teacher_forced

pytestmark = pytest.mark.usefixtures("quick_compilation")

PROMPTS, BEAMS, POOL = 3, 4, 24
# IDs of two to four tokens that all begin alike, some the prefixes of others.
PAIRS = np.random.default_rng(12).permutation(400)[:40]
CATALOGUE = [(44, 2 + int(pair) // 20, 2 + int(pair) % 20) for pair in PAIRS]
CATALOGUE += [(*item, 45) for item in CATALOGUE[:10]] + [(44, first) for first in range(2, 12)]

# A function of its own: else `jax.jit` would share its programs with tests that count them.
score = jax.jit(lambda *given: score_candidates(*given), static_argnums=1)


@pytest.fixture(scope="module")
def asked(config):
    """Parameters, prompts, trie, beams, and the log-probability of every item: [B, S]."""
    params = from_t5x(seeded_weights(config, of_order_one=True))
    prompts = ragged(PROMPTS, 10, [4, 10, 7], seed=4)
    trie = Trie.from_sequences(CATALOGUE, EOS)
    beams = search(config, params, prompts, beam_size=BEAMS, trie=trie, alpha=0.0,
                   max_decode_len=trie.depth)  # fmt: skip
    every = teacher_forced(config, params, prompts, padded(CATALOGUE, trie.depth)).sum(-1)
    return params, prompts, trie, beams, every


def item_of(tokens_T):
    return CATALOGUE.index(tuple(tokens_T[: list(tokens_T).index(EOS)].tolist()))


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_the_likeliest_items_are_those_of_all_candidates(config, asked, data):
    """Whatever the prior says: nothing of it, a little of many items, or almost all of one."""
    params, prompts, trie, beams, every_BxS = asked
    draw = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    pools_BxC = np.stack([draw.choice(len(CATALOGUE), POOL, replace=False) for _ in prompts])
    given_B = data.draw(st.lists(st.integers(0, POOL), min_size=PROMPTS, max_size=PROMPTS))
    pools_BxC[np.arange(POOL) >= np.array(given_B)[:, None]] = -1
    spread = data.draw(st.sampled_from([0.0, 1.0, 5.0, 30.0]))
    level = data.draw(st.sampled_from([-1e4, -12.0, -6.0, 0.0]))
    log_prior_BxC = level + draw.normal(scale=spread, size=pools_BxC.shape)
    log_prior_BxC = np.where(pools_BxC < 0, NO_BEAM, log_prior_BxC).astype(np.float32)
    wanted_B = data.draw(st.lists(st.integers(1, BEAMS), min_size=PROMPTS, max_size=PROMPTS))

    contest = Contest(log_prior_BxC, np.array(wanted_B, np.int32), beams)
    found_BxC = score(params, config, prompts, trie, pools_BxC, contest)
    for row, wanted in enumerate(wanted_B):
        of_prior = dict(zip(pools_BxC[row].tolist(), log_prior_BxC[row].tolist(), strict=True))
        of_beams = [item_of(tokens) for tokens in beams.tokens_BxKxT[row]]

        def joined(log_probs, of_prior=of_prior):
            values = {i: np.logaddexp(it, of_prior.get(i, NO_BEAM)) for i, it in log_probs.items()}
            return sorted(values.items(), key=lambda it: -it[1])

        known = {item: every_BxS[row, item] for item in of_beams}
        candidates = [item for item in of_prior if item >= 0]
        expected = joined(known | {item: every_BxS[row, item] for item in candidates})[:wanted]
        scored = {
            item: log_prob
            for item, log_prob in zip(pools_BxC[row].tolist(), found_BxC[row].tolist(), strict=True)
            if log_prob > NO_BEAM
        }
        for item, log_prob in scored.items():
            assert log_prob == pytest.approx(every_BxS[row, item], abs=1e-4)
        found = joined(known | scored)[:wanted]
        assert [item for item, _ in found] == [item for item, _ in expected]
        assert [it for _, it in found] == pytest.approx([it for _, it in expected], abs=1e-4)


def test_what_the_beams_hold_already_is_not_scored_again_and_the_hopeless_not_at_all(config, asked):
    """The beams are the likeliest: without a prior no other item enters, with one its own does."""
    params, prompts, trie, beams, every_BxS = asked
    best_BxS = np.argsort(-every_BxS, axis=1)
    np.testing.assert_array_equal(
        best_BxS[:, 0], [item_of(tokens) for tokens in beams.tokens_BxKxT[:, -1]]
    )
    pools_BxC = best_BxS[:, [0, 40, 30, 50]]
    log_prior_BxC = np.full(pools_BxC.shape, NO_BEAM, np.float32)
    log_prior_BxC[:, 2] = 0.0
    contest = Contest(log_prior_BxC, np.ones(PROMPTS, np.int32), beams)
    found = score(params, config, prompts, trie, pools_BxC, contest)
    assert (np.asarray(found)[:, [1, 3]] == NO_BEAM).all()
    expected = np.take_along_axis(every_BxS, pools_BxC, axis=1)
    np.testing.assert_array_equal(found[:, 0], beams.log_probs_BxK[:, -1])
    np.testing.assert_allclose(found[:, 2], expected[:, 2], atol=1e-4)


def test_a_method_of_the_former_signature_scores_as_before(config, asked):
    """A network's own `step_log_probs`, written before there was `wanted_BxK`."""

    class Own(type(config)):
        def step_log_probs(self, params, memory, cache, tokens_BxK, position, next_BxKxM):
            return super().step_log_probs(params, memory, cache, tokens_BxK, position, next_BxKxM)

    params, prompts, trie, _, every_BxS = asked
    found = score(params, Own(**vars(config)), prompts, trie, np.arange(POOL)[None])
    np.testing.assert_allclose(found, every_BxS[:, :POOL], atol=1e-4)


def test_the_bound_by_hand():
    """Beams with 0.5 and 0.2, candidates with the prior 0.4 (the second beam), 0.3 and 0.1: joined
    the items have 0.5, 0.6, at least 0.3 and at least 0.1."""
    tokens = {"a": [5, 1], "b": [6, 1], "c": [7, 1], "d": [8, 1]}
    beams = Beams(np.array([[tokens["b"], tokens["a"]]]), *[np.log([[0.2, 0.5]])] * 2)
    candidates = np.array([[tokens["b"], tokens["c"], tokens["d"], [0, 0]]])
    log_prior = np.array([[np.log(0.4), np.log(0.3), np.log(0.1), NO_BEAM]])
    for wanted, least in ((1, 0.6), (2, 0.5)):
        contest = Contest(log_prior, np.array([wanted]), beams)
        known, bound = contest.meet(candidates, log_prior)
        np.testing.assert_allclose(np.exp(bound), [least], rtol=1e-6)
        np.testing.assert_allclose(known, [[np.log(0.2), NO_BEAM, NO_BEAM, NO_BEAM]])
    log_probs = np.log([[0.1, 0.21, 0.39, 0.9]])
    assert contest.can_enter(log_probs, log_prior, bound).tolist() == [[True, True, False, True]]
