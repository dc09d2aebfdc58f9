"""Makes t5x_minimal.npz: T5X's minimal example on weights that our tests draw again.

    PYTHONPATH=. python tests/golden/make_t5x_minimal.py     # where `import t5x` works

Kept: `inputs` and `targets` (ragged; 0 is padding), and in float64, with T5X's float32 error
(`t5x_precision.py`): `logits` (0 where the target is padding), `loss` (cross-entropy summed over
target tokens, with z-loss), its `gradient/<T5X's name>`, and `scores_K_T` of the beams `beams_K_T`
of K beams and length T (0 for a beam that did not end). `logits_bfloat16`: T5X's with bfloat16
activations.
"""

import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from tests.golden import t5x_precision
from tests.model.conftest import ragged, seeded_weights, tiny_config

ARCHIVE = pathlib.Path(__file__).parent / "t5x_minimal.npz"
Z_LOSS, ALPHA, EOS = 1e-4, 0.6, 1
# T5X's score of a beam that did not end is -1e7.
UNFINISHED = -1e6
BEAMS_AND_LENGTHS = [(1, 8), (4, 8), (20, 12), (4, 2)]
# Beams are compared token by token, so none of the search's choices may hang on a rounding: weights
# moved by this share of themselves, two hundred times the spacing of float32, give the same beams.
MOVED, MOVES = 2e-5, 10


def tokens() -> dict[str, np.ndarray]:
    """The batch."""
    return {
        "inputs": ragged(6, 150, [150, 3, 90, 1, 40, 149], seed=0),
        "targets": ragged(6, 10, [10, 3, 9, 1, 4, 7], seed=1, eos=True),
    }


def weights() -> dict:
    """By T5X's names, in float32."""
    return seeded_weights(tiny_config(), of_order_one=True)


def decoder_inputs(targets: np.ndarray) -> np.ndarray:
    """Shifted right; padding is 0."""
    return np.pad(targets[:, :-1], ((0, 0), (1, 0)))


def t5x_model(dtype: Any) -> Any:
    """T5X's `EncoderDecoderModel` of the tests' size, without dropout."""
    import seqio
    from t5x import models
    from t5x.examples.t5 import network

    sizes = tiny_config()
    config = network.T5Config(
        vocab_size=sizes.vocab_size,
        emb_dim=sizes.emb_dim,
        num_heads=sizes.num_heads,
        num_encoder_layers=sizes.num_encoder_layers,
        num_decoder_layers=sizes.num_decoder_layers,
        head_dim=sizes.head_dim,
        mlp_dim=sizes.mlp_dim,
        dropout_rate=0.0,
        mlp_activations=("gelu", "linear"),
        dtype=dtype,
    )
    vocabulary = seqio.PassThroughVocabulary(sizes.vocab_size, eos_id=EOS)
    return models.EncoderDecoderModel(
        network.Transformer(config), vocabulary, vocabulary, None, z_loss=Z_LOSS
    )


def logits_of(dtype: Any, params: Any) -> np.ndarray:
    """[6, 10, 48], 0 where the target is padding."""
    model, batch = t5x_model(dtype), tokens()
    logits = jax.jit(model.module.apply)(
        {"params": params},
        batch["inputs"],
        decoder_inputs(batch["targets"]),
        batch["targets"],
    )
    return np.where(batch["targets"][..., None] > 0, np.asarray(logits), 0)


@functools.cache
def _searching(dtype: Any, beams: int) -> Any:
    """T5X's beam search, compiled once for all weights."""
    model = t5x_model(dtype)
    return jax.jit(
        lambda params, batch: model.predict_batch_with_aux(
            params,
            batch,
            num_decodes=beams,
            return_all_decodes=True,
            decoder_params={"alpha": ALPHA},
        )
    )


def beams_of(dtype: Any, params: Any) -> dict[str, np.ndarray]:
    """`beams_K_T` and `scores_K_T`."""
    found = {}
    for beams, length in BEAMS_AND_LENGTHS:
        batch = {
            "encoder_input_tokens": jnp.asarray(tokens()["inputs"]),
            "decoder_input_tokens": jnp.zeros((6, length), jnp.int32),
        }
        sequences, aux = _searching(dtype, beams)(params, batch)
        found[f"beams_{beams}_{length}"] = np.asarray(sequences, np.int32)
        scores = np.asarray(aux["scores"])
        found[f"scores_{beams}_{length}"] = np.where(scores > UNFINISHED, scores, 0)
    return found


def computed(dtype: Any) -> dict[str, np.ndarray]:
    """All that has a float64."""
    from t5x import losses

    batch = tokens()
    params = jax.tree.map(lambda x: jnp.asarray(x, dtype), weights())
    model = t5x_model(dtype)

    def loss(params: Any) -> jax.Array:
        logits = model.module.apply(
            {"params": params},
            batch["inputs"],
            decoder_inputs(batch["targets"]),
            batch["targets"],
        )
        weights = jnp.asarray(batch["targets"] > 0, dtype)
        return losses.compute_weighted_cross_entropy(
            logits, targets=batch["targets"], weights=weights, z_loss=Z_LOSS
        )[0]

    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    result = {"logits": logits_of(dtype, params), "loss": np.asarray(value)}
    for name, leaf in flatten_dict(gradient, sep="/").items():
        result[f"gradient/{name}"] = np.asarray(leaf)
    return {**result, **beams_of(dtype, params)}


def in_float64() -> dict[str, np.ndarray]:
    """The truth; fails where a beam is a matter of rounding."""
    from t5x import decoding, losses, models
    from t5x.examples.t5 import layers, network

    with t5x_precision.float64([layers, network, losses, decoding, models]):
        result = computed(jnp.float64)
        assert all(x.dtype == np.float64 for name, x in result.items() if "beams" not in name)
        for move in range(MOVES):
            draws = np.random.default_rng(move)
            moved = jax.tree.map(
                lambda x, draws=draws: jnp.asarray(
                    x * (1 + MOVED * draws.standard_normal(x.shape)), jnp.float64
                ),
                weights(),
            )
            for name, found in beams_of(jnp.float64, moved).items():
                if name.startswith("beams"):
                    np.testing.assert_array_equal(found, result[name], err_msg=name)
    return result


def others() -> dict[str, np.ndarray]:
    """The batch, and the logits with bfloat16 activations."""
    params = weights()
    return {**tokens(), "logits_bfloat16": logits_of(jnp.bfloat16, params)}


if __name__ == "__main__":
    arrays = t5x_precision.measured(lambda: computed(jnp.float32), in_float64)
    np.savez_compressed(ARCHIVE, **arrays, **others())
