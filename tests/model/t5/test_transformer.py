"""What must not change the model's answer, and what must."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recalign.errors import UserError
from recalign.model.names import from_t5x
from recalign.model.network import shift_right
from recalign.model.t5.transformer import Transformer
from tests.model.conftest import ragged, seeded_weights, tiny_config

pytestmark = pytest.mark.usefixtures("quick_compilation")

DECODER_TOKENS = jnp.asarray(np.pad(ragged(3, 5, [5, 3, 4], seed=2), ((0, 0), (1, 0))))


def _apply(config, params, inputs, **kwargs):
    model = Transformer(config)
    return jax.jit(lambda p, e: model.apply({"params": p}, e, DECODER_TOKENS, **kwargs))(
        params, inputs
    )


def _gradient(config, params, inputs):
    model = Transformer(config)

    def mean_square(params):
        rngs = {"dropout": jax.random.key(7)}
        logits = model.apply(
            {"params": params}, inputs, DECODER_TOKENS, enable_dropout=True, rngs=rngs
        )
        return jnp.mean(logits**2)

    return jax.jit(jax.value_and_grad(mean_square))(params)


@pytest.fixture(scope="module")
def shallow():
    """Two layers a stack are enough to be stacked."""
    config = tiny_config(num_encoder_layers=2)
    return config, from_t5x(seeded_weights(config))


@pytest.fixture(scope="module")
def scanned(shallow, inputs_BxL):
    return _gradient(*shallow, inputs_BxL)


@pytest.mark.parametrize(
    "change",
    [
        {"unroll_layers": True},
        {"remat": True},
        {"remat": "dots_saveable", "unroll_layers": True},
    ],
)
def test_how_layers_are_compiled_changes_nothing(scanned, shallow, inputs_BxL, change):
    """Value and gradient, dropout included: the masks are the same ones."""
    config, params = shallow
    other = _gradient(dataclasses.replace(config, **change), params, inputs_BxL)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), other, scanned
    )


def test_an_example_of_padding_alone_gives_finite_numbers(config, params, inputs_BxL):
    assert np.isfinite(_apply(config, params, inputs_BxL.at[1].set(0))).all()


def test_a_position_does_not_see_later_targets(config, params, inputs_BxL):
    model = Transformer(config)
    logits = jax.jit(
        lambda decoder_tokens: model.apply({"params": params}, inputs_BxL, decoder_tokens)
    )
    before, after = logits(DECODER_TOKENS), logits(DECODER_TOKENS.at[:, 3].set(44))
    np.testing.assert_allclose(after[:, :3], before[:, :3], atol=1e-6)
    assert np.abs(after[:, 3:] - before[:, 3:]).max() > 0.1


def test_dropout_follows_its_key(config, params, inputs_BxL):
    model = Transformer(config)

    @jax.jit
    def logits(key):
        return model.apply(
            {"params": params},
            inputs_BxL,
            DECODER_TOKENS,
            enable_dropout=True,
            rngs={"dropout": key},
        )

    one, again, two = (logits(jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - two).max() > 0.1
    assert np.abs(one - _apply(config, params, inputs_BxL)).max() > 0.1


def test_tied_logits_are_products_with_the_embedding(inputs_BxL):
    """The untied model whose output layer is the scaled transpose gives the same numbers."""
    config = tiny_config(logits_via_embedding=True)
    model = Transformer(config)
    params = jax.jit(model.init)(jax.random.key(0), inputs_BxL, DECODER_TOKENS)["params"]
    assert "logits_dense" not in params["decoder"]
    kernel = params["token_embedder"]["embedding"].T / np.sqrt(config.emb_dim)
    decoder = {**params["decoder"], "logits_dense": {"kernel": kernel}}
    untied = _apply(tiny_config(), {**params, "decoder": decoder}, inputs_BxL)
    np.testing.assert_allclose(_apply(config, params, inputs_BxL), untied, atol=1e-5)


@pytest.mark.parametrize("tied", [False, True])
def test_steps_have_the_logits_of_the_whole(inputs_BxL, tied):
    config = tiny_config(logits_via_embedding=tied)
    params = config.init(jax.random.key(0))
    targets_BxT = np.arange(2, 2 + 3 * len(inputs_BxL)).reshape(-1, 3)
    whole_BxTxV = config.logits(params, {"inputs": inputs_BxL, "targets": targets_BxT}, None)
    memory, cache = config.start(params, inputs_BxL, 1, 3)
    for position, tokens_B in enumerate(shift_right(targets_BxT).T):
        logits_BxKxV, cache = config.step(params, memory, cache, tokens_B[:, None], position)
        np.testing.assert_allclose(logits_BxKxV[:, 0], whole_BxTxV[:, position], atol=1e-5)


def test_the_embeddings_scale_is_set():
    config = tiny_config(vocab_size=400, emb_dim=64, embedding_stddev=0.05)
    tokens = jnp.ones((1, 2), jnp.int32)
    params = jax.jit(Transformer(config).init)(jax.random.key(0), tokens, tokens)["params"]
    assert np.std(params["token_embedder"]["embedding"]) == pytest.approx(0.05, rel=0.05)


def test_initial_values_have_t5x_scales():
    config = tiny_config(vocab_size=400, emb_dim=64, head_dim=16, num_heads=4, mlp_dim=128)
    tokens = jnp.ones((1, 2), jnp.int32)
    model = Transformer(config)
    params = jax.jit(lambda: model.init(jax.random.key(0), tokens, tokens)["params"])()
    layers = params["decoder"]["layers"]
    expected = {
        "embedding": (params["token_embedder"]["embedding"], 1.0),
        # 1/sqrt(fan in), and once more 1/sqrt(head size), which attention leaves out.
        "query": (layers["self_attention"]["query"]["kernel"], (64 * 16) ** -0.5),
        "key": (layers["self_attention"]["key"]["kernel"], 64**-0.5),
        "wo": (layers["mlp"]["wo"]["kernel"], 128**-0.5),
        "logits": (params["decoder"]["logits_dense"]["kernel"], 64**-0.5),
        # Uniform of variance 1/fan average.
        "relpos": (params["encoder"]["relpos_bias"]["rel_embedding"], ((4 + 32) / 2) ** -0.5),
    }
    for name, (values, deviation) in expected.items():
        assert np.std(values) == pytest.approx(deviation, rel=0.15), name
    assert np.abs(layers["mlp"]["wo"]["kernel"][0] - layers["mlp"]["wo"]["kernel"][1]).max() > 0.1


@pytest.mark.parametrize(
    "change, message",
    [
        ({"num_heads": 0}, "num_heads must be a positive integer, not 0"),
        ({"mlp_dim": 2.5}, "mlp_dim must be a positive integer, not 2.5"),
        ({"dropout_rate": 1.0}, "dropout_rate"),
        ({"embedding_stddev": 0.0}, "embedding_stddev must be above 0"),
        ({"dtype": "float16"}, "'float32' or 'bfloat16', not 'float16'"),
        ({"remat": "everything"}, "'everything' is not a policy"),
    ],
)
def test_a_wrong_setting_is_named(change, message):
    with pytest.raises(UserError, match=message):
        tiny_config(**change)
