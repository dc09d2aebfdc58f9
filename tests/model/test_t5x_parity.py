"""The same numbers as T5X's minimal example on the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recalign.model.decode import beam_decode
from recalign.model.names import to_t5x
from recalign.model.network import Transformer

from .conftest import tiny_config


def _shifted(targets_BxT):
    return jnp.pad(targets_BxT[:, :-1], ((0, 0), (1, 0)))


def _logits(config, params, golden):
    model = Transformer(config)
    logits = jax.jit(lambda p, e, d: model.apply({"params": p}, e, d))(
        params, golden["inputs"], _shifted(golden["targets"])
    )
    return np.where(golden["targets"][..., None] > 0, logits, 0)


def test_logits(config, params, golden):
    np.testing.assert_allclose(_logits(config, params, golden), golden["logits"], atol=2e-5)


def test_logits_in_bfloat16_within_the_rounding_that_t5x_itself_has(params, golden):
    config = tiny_config(dtype="bfloat16")
    ours = _logits(config, params, golden) - golden["logits_bfloat16"]
    rounding = golden["logits_bfloat16"] - golden["logits"]
    assert np.sqrt(np.mean(ours**2)) < np.sqrt(np.mean(rounding**2))
    assert np.abs(ours).max() < np.abs(rounding).max()


def test_loss_and_gradient(config, params, golden):
    model, targets = Transformer(config), jnp.asarray(golden["targets"])

    def loss(params):
        logits = model.apply({"params": params}, golden["inputs"], _shifted(targets))
        log_z = jax.nn.logsumexp(logits, axis=-1)
        at_target = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
        return jnp.sum(jnp.where(targets > 0, log_z - at_target + 1e-4 * log_z**2, 0))

    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    np.testing.assert_allclose(value, golden["loss"], rtol=1e-6)
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(to_t5x(gradient))])
    np.testing.assert_allclose(flat, golden["gradient"], rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("beam_size, length", [(1, 8), (4, 8), (20, 12), (4, 2)])
def test_beams(config, params, golden, beam_size, length):
    beams = jax.jit(
        lambda p, e: beam_decode(p, config, e, beam_size=beam_size, max_decode_len=length)
    )(params, golden["inputs"])
    np.testing.assert_array_equal(beams.tokens_BxKxT, golden[f"beams_{beam_size}_{length}"])
    np.testing.assert_allclose(beams.scores_BxK, golden[f"scores_{beam_size}_{length}"], atol=2e-5)
