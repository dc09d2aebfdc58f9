"""Makes t5x_optimizer_and_loss.npz: T5X's Adafactor over six steps, and its loss.

    PYTHONPATH=. python tests/golden/make_t5x_optimizer_and_loss.py   # where `import t5x` works

Kept in float64, with T5X's float32 error (`t5x_precision.py`): `params/`, `v_row/`, `v_col/` and
`v/<T5X's name>` after six steps from the parameters and gradients of
`tests/trainer/test_optimizer.py`, and `loss/S`, `z_loss/S` and `tokens/S` under label smoothing S.
`logits` and `targets` (0 is padding) are what the loss is of.
"""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from tests.golden import t5x_precision
from tests.trainer.test_optimizer import FIRST_STEP, drawn, nested

ARCHIVE = pathlib.Path(__file__).parent / "t5x_optimizer_and_loss.npz"
Z_LOSS, SMOOTHINGS = 1e-4, (0.0, 0.1)


def predicted() -> dict[str, np.ndarray]:
    """Logits of order one in float32, and ragged targets."""
    draws = np.random.default_rng(1)
    targets = draws.integers(1, 11, (3, 5)).astype(np.int32)
    targets[np.arange(5) >= [[5], [3], [1]]] = 0
    return {"logits": draws.normal(size=(3, 5, 11)).astype(np.float32), "targets": targets}


def computed(dtype: Any) -> dict[str, np.ndarray]:
    """All that is compared."""
    from t5x import adafactor, losses

    optimizer = adafactor.Adafactor(
        decay_rate=0.8, step_offset=FIRST_STEP, min_dim_size_to_factor=8
    )
    params, gradients = jax.tree.map(lambda x: jnp.asarray(x, dtype), drawn())
    params = nested(params)
    state = optimizer.init_state(params).replace(step=jnp.int32(FIRST_STEP))
    for number, gradient in enumerate(gradients, 1):
        settings = optimizer.hyper_params.replace(learning_rate=jnp.asarray(0.01 * number, dtype))
        params, state = optimizer.apply_gradient(settings, params, state, nested(gradient))
    result = {f"params/{name}": x for name, x in flatten_dict(params, sep="/").items()}
    for part in ("v_row", "v_col", "v"):
        moments = jax.tree.map(
            lambda x, part=part: getattr(x, part),
            state.param_states,
            is_leaf=lambda x: hasattr(x, "v_row"),
        )
        result |= {f"{part}/{name}": x for name, x in flatten_dict(moments, sep="/").items()}
    made = predicted()
    for smoothing in SMOOTHINGS:
        parts = losses.compute_weighted_cross_entropy(
            jnp.asarray(made["logits"], dtype),
            targets=made["targets"],
            weights=jnp.asarray(made["targets"] > 0, dtype),
            label_smoothing=smoothing,
            z_loss=Z_LOSS,
        )
        names = (f"{part}/{smoothing}" for part in ("loss", "z_loss", "tokens"))
        result |= dict(zip(names, parts, strict=True))
    return {name: np.asarray(x) for name, x in result.items()}


def in_float64() -> dict[str, np.ndarray]:
    """The truth."""
    from t5x import adafactor, losses

    with t5x_precision.float64([adafactor, losses]):
        result = computed(jnp.float64)
    assert all(x.dtype == np.float64 for x in result.values())
    return result


if __name__ == "__main__":
    arrays = t5x_precision.measured(lambda: computed(jnp.float32), in_float64)
    np.savez_compressed(ARCHIVE, **arrays, **predicted())
