"""A tiny model whose weights any machine can make again, and batches for it."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recalign.model.names import from_t5x
from recalign.model.t5.config import T5Config
from recalign.model.t5.transformer import Transformer
from tests.golden.t5x_precision import MULTIPLE
from tests.t5x_names import to_t5x

EOS = 1
GOLDEN = Path(__file__).parents[1] / "golden" / "t5x_minimal.npz"


def tiny_config(**changes) -> T5Config:
    sizes = {
        "vocab_size": 48,
        "emb_dim": 16,
        "num_heads": 2,
        "num_encoder_layers": 3,
        "num_decoder_layers": 2,
        "head_dim": 8,
        "mlp_dim": 32,
        "dropout_rate": 0.1,
    }
    return T5Config(**{**sizes, **changes})


def seeded_weights(config: T5Config, *, of_order_one: bool = False) -> dict:
    """Under T5X's names: normal weights of T5X's scale, drawn by NumPy in the names' order.

    Kernels are a little larger than T5X's first ones, so that beams end and differ in length. With
    `of_order_one` they divide by the root of their inputs, and queries by that of the head's size
    too: then attention scores, logits and gradients are of order one and a rounding stays small.

    NumPy arrays: what a test does with them outside of a compiled function costs no compilation.
    """
    tokens = jnp.zeros((1, 2), jnp.int32)
    model = Transformer(config)
    shapes = jax.eval_shape(lambda: to_t5x(model.init(jax.random.key(0), tokens, tokens)["params"]))
    draws = np.random.default_rng(5)

    def draw(path, shape):
        values = draws.standard_normal(shape.shape)
        if "scale" in jax.tree_util.keystr(path):
            return (1 + 0.2 * values).astype(np.float32)
        if "embedding" in jax.tree_util.keystr(path):
            return values.astype(np.float32)
        if not of_order_one:
            return (1.3 * values / math.sqrt(shape.shape[0])).astype(np.float32)
        is_query = "query" in jax.tree_util.keystr(path)
        divisor = math.sqrt(shape.shape[0] * (config.head_dim if is_query else 1))
        return (values / divisor).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def ragged(rows: int, width: int, lengths: list[int], seed: int, eos: bool = False) -> np.ndarray:
    tokens = np.random.default_rng(seed).integers(2, 48, (rows, width)).astype(np.int32)
    for row, length in enumerate(lengths):
        tokens[row, length:] = 0
        if eos:
            tokens[row, length - 1] = EOS
    return tokens


@pytest.fixture(scope="session")
def config() -> T5Config:
    return tiny_config()


@pytest.fixture(scope="session")
def params(config) -> dict:
    return from_t5x(seeded_weights(config))


@pytest.fixture(scope="session")
def golden() -> dict:
    return dict(np.load(GOLDEN))


@pytest.fixture(scope="session")
def tolerance(golden) -> float:
    """Of scores of networks of order one: both that are compared may miss the truth.

    Each by `MULTIPLE` times what T5X's float32 misses of it (`tests/golden/t5x_precision.py`).
    """
    return 2 * MULTIPLE * float(golden["error/scores_20_12"])


@pytest.fixture(scope="session")
def inputs_BxL() -> jax.Array:
    return jnp.asarray(ragged(3, 14, [14, 5, 9], seed=1))
