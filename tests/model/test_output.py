import jax
import numpy as np
import pytest
from scipy.special import log_softmax

from recalign.model.output import log_probs_at, log_probs_of_hidden


# One part of one row, one part, two whole parts, and three of which the last is filled up.
@pytest.mark.parametrize("beams", [(1, 1), (5, 20), (64, 4), (13, 23)])
def test_log_probabilities_of_parts_are_those_of_the_whole_vocabulary(beams):
    draw = np.random.default_rng(3)
    hidden_BxKxD = draw.normal(size=(*beams, 6)).astype(np.float32)
    table_VxD = draw.normal(scale=3.0, size=(50, 6)).astype(np.float32)
    tokens_BxKxM = draw.integers(0, 50, (*beams, 7))
    expected = np.take_along_axis(
        log_softmax(hidden_BxKxD.astype(np.float64) @ table_VxD.T, axis=-1), tokens_BxKxM, axis=-1
    )
    in_parts = jax.jit(lambda *given: log_probs_of_hidden(lambda x: x @ table_VxD.T, *given))
    np.testing.assert_allclose(in_parts(hidden_BxKxD, tokens_BxKxM), expected, atol=2e-5)
    logits_BxKxV = hidden_BxKxD @ table_VxD.T
    np.testing.assert_allclose(log_probs_at(logits_BxKxV, tokens_BxKxM), expected, atol=2e-5)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 1.0])
@pytest.mark.parametrize("beams", [(1, 1), (1, 20), (13, 23)])
def test_rows_that_are_wanted_are_those_of_all(beams, share):
    draw = np.random.default_rng(4)
    hidden_BxKxD = draw.normal(size=(*beams, 6)).astype(np.float32)
    table_VxD = draw.normal(scale=3.0, size=(50, 6)).astype(np.float32)
    tokens_BxKxM = draw.integers(0, 50, (*beams, 2))
    wanted_BxK = draw.random(beams) < share
    found = jax.jit(lambda *given: log_probs_of_hidden(lambda x: x @ table_VxD.T, *given))(
        hidden_BxKxD, tokens_BxKxM, wanted_BxK
    )
    expected = log_probs_at(hidden_BxKxD @ table_VxD.T, tokens_BxKxM)
    np.testing.assert_allclose(found[wanted_BxK], expected[wanted_BxK], atol=2e-5)


def test_no_logits_of_all_beams_are_made_on_a_cpu():
    hidden_BxKxD = np.zeros((64, 20, 6), np.float32)
    tokens_BxKxM = np.zeros((64, 20, 1), np.int32)
    table_VxD = np.zeros((1_000, 6), np.float32)
    compiled = jax.jit(
        lambda *given: log_probs_of_hidden(lambda x: x @ table_VxD.T, *given)
    ).lower(hidden_BxKxD, tokens_BxKxM)  # fmt: skip
    memory = compiled.compile().memory_analysis()
    assert memory.temp_size_in_bytes < 64 * 20 * 1_000 * 4 / 4
