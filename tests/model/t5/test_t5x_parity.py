"""The same numbers as T5X's minimal example on the same weights, and none of a wrong network's.

The golden file holds T5X in float64, and tolerances follow from what T5X's own float32 misses of it
(`tests/golden/t5x_precision.py`).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from recalign.model.decode import beam_decode
from recalign.model.names import from_t5x
from recalign.model.t5.transformer import Transformer
from tests.golden.t5x_precision import MULTIPLE, assert_as_precise_as_t5x
from tests.model.conftest import seeded_weights, tiny_config
from tests.t5x_names import to_t5x

pytestmark = pytest.mark.usefixtures("quick_compilation")

# How far a wrong network is from a rounding: more than so many times what is allowed.
FAR = 100


def _shifted(targets_BxT):
    return jnp.pad(targets_BxT[:, :-1], ((0, 0), (1, 0)))


def _logits_of(config, golden):
    """A compiled function of the parameters; 0 where the target is padding."""
    model, targets = Transformer(config), golden["targets"]
    compiled = jax.jit(
        lambda params: model.apply({"params": params}, golden["inputs"], _shifted(targets))
    )
    return lambda params: np.where(targets[..., None] > 0, compiled(params), 0)


@pytest.fixture(scope="module")
def params(config):
    return from_t5x(seeded_weights(config, of_order_one=True))


@pytest.fixture(scope="module")
def logits_of(config, golden):
    return _logits_of(config, golden)


def _gradient(config, params, golden, z_loss=1e-4):
    """(loss, its gradient by T5X's names)."""
    model, targets = Transformer(config), jnp.asarray(golden["targets"])

    def loss(params):
        logits = model.apply({"params": params}, golden["inputs"], _shifted(targets))
        log_z = jax.nn.logsumexp(logits, axis=-1)
        at_target = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
        return jnp.sum(jnp.where(targets > 0, log_z - at_target + z_loss * log_z**2, 0))

    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    return value, flatten_dict(to_t5x(gradient), sep="/")


def _of_allowed(ours, golden, name):
    """The largest distance from the truth as a multiple of the tolerance."""
    allowed = MULTIPLE * golden[f"error/{name}"]
    return np.max(np.abs(np.asarray(ours, np.float64) - golden[name])) / allowed


def test_golden_numbers_are_of_order_one(golden):
    """So that no sum of the network is a small difference of large numbers."""
    assert golden["logits"].dtype == np.float64
    assert 0.5 < np.std(golden["logits"]) < 2
    gradients = [x for name, x in golden.items() if name.startswith("gradient/")]
    assert 0.2 < np.sqrt(np.mean(np.concatenate([x.ravel() for x in gradients]) ** 2)) < 5
    # Six digits and more of T5X's float32 are right.
    assert golden["error/logits"] < 1e-5


def test_logits(params, golden, logits_of):
    assert_as_precise_as_t5x(logits_of(params), golden, "logits")


def test_padding_on_the_right_changes_nothing(config, params, golden):
    inputs = np.pad(golden["inputs"], ((0, 0), (0, 9)))
    found = _logits_of(config, dict(golden) | {"inputs": inputs})(params)
    assert_as_precise_as_t5x(found, golden, "logits")


def test_logits_in_bfloat16_within_the_rounding_that_t5x_itself_has(params, golden):
    found = _logits_of(tiny_config(dtype="bfloat16"), golden)(params)
    ours = found - golden["logits_bfloat16"]
    rounding = golden["logits_bfloat16"] - golden["logits"]
    assert np.sqrt(np.mean(ours**2)) < np.sqrt(np.mean(rounding**2))
    assert np.abs(ours).max() < np.abs(rounding).max()


def test_loss_and_gradient(config, params, golden):
    value, gradient = _gradient(config, params, golden)
    assert_as_precise_as_t5x(value, golden, "loss")
    assert {f"gradient/{name}" for name in gradient} == {x for x in golden if x.startswith("grad")}
    for name, leaf in gradient.items():
        assert_as_precise_as_t5x(leaf, golden, f"gradient/{name}")


@pytest.mark.parametrize("beam_size, length", [(1, 8), (4, 8), (20, 12), (4, 2)])
def test_beams(config, params, golden, beam_size, length):
    beams = jax.jit(
        lambda p, e: beam_decode(p, config, e, beam_size=beam_size, max_decode_len=length)
    )(params, golden["inputs"])
    np.testing.assert_array_equal(beams.tokens_BxKxT, golden[f"beams_{beam_size}_{length}"])
    scores = np.where(beams.scores_BxK > -1e6, beams.scores_BxK, 0)
    np.testing.assert_array_equal(scores == 0, golden[f"scores_{beam_size}_{length}"] == 0)
    assert_as_precise_as_t5x(scores, golden, f"scores_{beam_size}_{length}")


def test_every_array_of_every_layer_left_out_is_seen(params, golden, logits_of):
    """A bias or a kernel of zeros, a scale of ones."""
    named = flatten_dict(to_t5x(params), sep="/")
    for name, value in named.items():
        without = np.ones_like(value) if name.endswith("scale") else np.zeros_like(value)
        wrong = {tuple(key.split("/")): x for key, x in (named | {name: without}).items()}
        found = logits_of(from_t5x(unflatten_dict(wrong)))
        assert _of_allowed(found, golden, "logits") > FAR, name


@pytest.mark.parametrize(
    "name",
    [
        "encoder/layers_1/pre_attention_layer_norm",
        "decoder/layers_0/pre_cross_attention_layer_norm",
        "decoder/layers_1/pre_mlp_layer_norm",
        "encoder/encoder_norm",
    ],
)
def test_one_norm_that_is_skipped_is_seen(config, params, golden, name):
    """A layer of a stack, which is one module of all layers, is known by its scale."""
    skipped_D = flatten_dict(to_t5x(params), sep="/")[f"{name}/scale"]

    def without(call, args, kwargs, context):
        normed = call(*args, **kwargs)
        if context.module.name != name.rpartition("/")[2]:
            return normed
        scale_D = context.module.get_variable("params", "scale")
        return jnp.where(jnp.all(scale_D == skipped_D), args[0], normed)

    with nn.intercept_methods(without):
        found = _logits_of(config, golden)(params)
    assert _of_allowed(found, golden, "logits") > FAR


def test_a_z_loss_that_is_left_out_is_seen(config, params, golden):
    value, gradient = _gradient(config, params, golden, z_loss=0.0)
    assert _of_allowed(value, golden, "loss") > FAR
    name = "decoder/logits_dense/kernel"
    assert _of_allowed(gradient[name], golden, f"gradient/{name}") > FAR
