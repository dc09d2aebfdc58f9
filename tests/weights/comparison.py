"""What the tests of the formats compare."""

import jax
import numpy as np

from recalign.model.t5.config import T5Config
from recalign.model.t5.transformer import Transformer

# One of the tables is large enough for Adafactor to factor it.
CONFIG = T5Config(
    vocab_size=160,
    emb_dim=128,
    num_heads=2,
    num_encoder_layers=3,
    num_decoder_layers=2,
    head_dim=8,
    mlp_dim=24,
)
STEP, FIRST_STEP = 12, 5


def logits(params, config, expected):
    return jax.jit(Transformer(config).apply)(
        {"params": params},
        expected["inputs"].astype(np.int32),
        expected["decoder_inputs"].astype(np.int32),
    )


def equal(one, other) -> bool:
    """Bit for bit, type for type, name for name."""
    flat_one, tree_one = jax.tree.flatten(jax.device_get(one))
    flat_other, tree_other = jax.tree.flatten(jax.device_get(other))
    return tree_one == tree_other and all(
        x.dtype == y.dtype and np.array_equal(x, y)
        for x, y in zip(flat_one, flat_other, strict=True)
    )
