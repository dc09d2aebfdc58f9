import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recalign.trainer.state import cross_entropy, normalizer
from tests.golden.t5x_precision import assert_as_precise_as_t5x

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "t5x_optimizer_and_loss.npz"


def test_by_hand():
    # Two positions over three tokens; the second is padding and counts for nothing.
    logits = jnp.log(jnp.array([[[1.0, 2.0, 1.0], [5.0, 1.0, 1.0]]]))
    parts = cross_entropy(logits, jnp.array([[1, 0]]), z_loss=0.1)
    log_normalizer = np.log(4.0)
    np.testing.assert_allclose(parts.z_loss, 0.1 * log_normalizer**2, rtol=1e-6)
    np.testing.assert_allclose(parts.loss, np.log(2.0) + 0.1 * log_normalizer**2, rtol=1e-6)
    assert (parts.tokens, parts.correct) == (1, 1)


def test_gradient_of_z_loss_by_hand():
    # d/dl (0.5 log(Z)^2 + log Z - l_t) = (1 + log Z) p - onehot
    logits = jnp.log(jnp.array([[[1.0, 3.0]]]))
    gradient = jax.grad(lambda x: cross_entropy(x, jnp.array([[1]]), z_loss=0.5).loss)(logits)
    expected = (1 + np.log(4.0)) * np.array([0.25, 0.75]) - np.array([0.0, 1.0])
    np.testing.assert_allclose(gradient[0, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_equals_t5x(smoothing):
    golden = np.load(GOLDEN)
    parts = cross_entropy(
        jnp.asarray(golden["logits"]),
        jnp.asarray(golden["targets"]),
        z_loss=1e-4,
        label_smoothing=smoothing,
    )
    assert_as_precise_as_t5x(parts.loss, golden, f"loss/{smoothing}")
    assert_as_precise_as_t5x(parts.z_loss, golden, f"z_loss/{smoothing}")
    assert parts.tokens == golden[f"tokens/{smoothing}"]


def test_normalizers():
    targets = jnp.array([[3, 1, 0], [2, 0, 0]])
    assert normalizer(None, targets) == 1
    assert normalizer(7.0, targets) == 7
    assert normalizer("NUM_REAL_TARGET_TOKENS", targets) == 3
    assert normalizer("NUM_TOTAL_TARGET_TOKENS", targets) == 6
