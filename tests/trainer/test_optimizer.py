import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from recalign.model.names import from_t5x
from recalign.trainer.optimizer import adafactor
from recalign.weights import inspection
from tests.golden.t5x_precision import assert_as_precise_as_t5x
from tests.t5x_names import to_t5x

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "t5x_optimizer_and_loss.npz"
SHAPES = {
    "decoder/layers_0/mlp/wi_0/kernel": (12, 20),
    "decoder/layers_1/mlp/wi_0/kernel": (12, 20),
    "decoder/layers_0/pre_mlp_layer_norm/scale": (12,),
    "decoder/layers_1/pre_mlp_layer_norm/scale": (12,),
    "decoder/relpos_bias/rel_embedding": (4, 32),
    "token_embedder/embedding": (40, 12),
}
FIRST_STEP = 7


@pytest.fixture(autouse=True)
def _small_tensors_are_factored(monkeypatch):
    monkeypatch.setattr(inspection, "_SMALLEST_FACTORED", 8)


def nested(flat):
    return traverse_util.unflatten_dict({tuple(name.split("/")): x for name, x in flat.items()})


def flat(tree):
    return {"/".join(path): np.asarray(x) for path, x in traverse_util.flatten_dict(tree).items()}


def drawn():
    """Parameters and six gradients; `make_t5x_optimizer_and_loss.py` gives T5X the same."""
    rng = np.random.default_rng(0)
    params = {
        name: rng.normal(size=shape).astype("float32") * (0.1 if "layers_1" in name else 1.0)
        for name, shape in SHAPES.items()
    }
    gradients = [
        {
            name: (rng.normal(size=shape) * rng.choice([1e-3, 1.0, 30.0])).astype("float32")
            for name, shape in SHAPES.items()
        }
        for _ in range(6)
    ]
    return params, gradients


def trained(params, gradients):
    """Our optimizer on stacked layers, the n-th step with rate 0.01 n."""
    optimizer = adafactor(lambda step: 0.01 * (step - FIRST_STEP + 1), FIRST_STEP)
    stacked = jax.tree.map(jnp.asarray, from_t5x(nested(params)))
    state = optimizer.init(stacked)._replace(step=jnp.asarray(FIRST_STEP))
    for gradient in gradients:
        updates, state = optimizer.update(from_t5x(nested(gradient)), state, stacked)
        stacked = optax.apply_updates(stacked, updates)
    return stacked, state


def test_stacked_layers_equal_t5x_unstacked_ones():
    params, state = trained(*drawn())
    golden = np.load(GOLDEN)
    for part, tree in (
        ("params", params),
        ("v_row", state.v_row),
        ("v_col", state.v_col),
        ("v", state.v),
    ):
        for name, value in flat(to_t5x(tree)).items():
            assert_as_precise_as_t5x(value, golden, f"{part}/{name}")
    assert int(state.step) == FIRST_STEP + 6


def numpy_adafactor(parameter, gradients, rates):
    """Algorithm 4 of the paper with T5X's choices, in float64; rows are the smaller dimension."""
    parameter = parameter.astype(np.float64)
    factored = parameter.ndim == 2 and min(parameter.shape) >= 8
    rows, columns, v = 0.0, 0.0, 0.0
    for t, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        decay = 1 - t**-0.8
        squared = gradient.astype(np.float64) ** 2 + 1e-30
        if factored:
            rows = decay * rows + (1 - decay) * squared.mean(axis=1)
            columns = decay * columns + (1 - decay) * squared.mean(axis=0)
            second_moment = np.outer(rows, columns) / rows.mean()
        else:
            v = decay * v + (1 - decay) * squared
            second_moment = v
        update = gradient / np.sqrt(second_moment)
        update /= max(1.0, np.sqrt((update**2).mean()))
        scale = max(1e-3, np.sqrt((parameter**2).mean()))
        parameter = parameter - rate * scale * update
    return parameter


def test_each_layer_equals_an_independent_implementation():
    params, gradients = drawn()
    ours = flat(to_t5x(trained(params, gradients)[0]))
    rates = [0.01 * (n + 1) for n in range(6)]
    for name, parameter in params.items():
        if parameter.ndim == 2 and parameter.shape[0] > parameter.shape[1]:
            expected = numpy_adafactor(parameter.T, [g[name].T for g in gradients], rates).T
        else:
            expected = numpy_adafactor(parameter, [g[name] for g in gradients], rates)
        np.testing.assert_allclose(ours[name], expected, rtol=2e-5, atol=1e-6, err_msg=name)
