"""Makes t5x_trajectory.npz: twenty training steps of a tiny model, by T5X itself.

    PYTHONPATH=. python tests/golden/make_t5x_trajectory.py     # where `import t5x` works

Kept in float64, with T5X's float32 error (`t5x_precision.py`): each step's `loss` (z-loss included)
and `z_loss`, and of each final parameter, by T5X's name, its mean and `sample` of its values; the
same under `bfloat16/` with bfloat16 activations. The start and the batches are drawn by NumPy, and
tests ask for them here; matrices are large enough to be factored.
"""

import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.golden import t5x_precision

SIZES = {
    "vocab_size": 160,
    "emb_dim": 128,
    "num_heads": 2,
    "num_encoder_layers": 2,
    "num_decoder_layers": 2,
    "head_dim": 64,
    "mlp_dim": 136,
    "dropout_rate": 0.0,
}
STEPS, LEARNING_RATE, WARMUP_STEPS, Z_LOSS = 20, 0.01, 5, 1e-4
BATCH, INPUTS, TARGETS = 8, 24, 6
ARCHIVE = pathlib.Path(__file__).parent / "t5x_trajectory.npz"


def start(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Parameters of T5's scale for T5X's names, drawn in the names' order."""
    rng = np.random.default_rng(0)
    values = {}
    for name in sorted(shapes):
        shape = shapes[name]
        value = rng.standard_normal(shape)
        if name.endswith("scale"):
            value = 1 + 0.1 * value
        elif name.endswith("kernel"):
            value /= math.sqrt(shape[0] * (SIZES["head_dim"] if "query" in name else 1))
        values[name] = value.astype(np.float32)
    return values


def batches() -> Iterator[dict[str, np.ndarray]]:
    """Targets that repeat the beginning of the inputs; 0 is padding."""
    rng = np.random.default_rng(1)
    for _ in range(STEPS):
        inputs = rng.integers(2, SIZES["vocab_size"], (BATCH, INPUTS)).astype(np.int32)
        targets = inputs[:, :TARGETS].copy()
        inputs[np.arange(INPUTS) >= rng.integers(TARGETS, INPUTS + 1, (BATCH, 1))] = 0
        targets[np.arange(TARGETS) >= rng.integers(2, TARGETS + 1, (BATCH, 1))] = 0
        yield {"inputs": inputs, "targets": targets}


def sample(values: np.ndarray) -> np.ndarray:
    """At most 128 values at equal distances."""
    flat = np.asarray(values).ravel()
    return flat[:: math.ceil(flat.size / 128)]


def trajectory(dtype: str) -> dict[str, np.ndarray]:
    """What T5X computes with activations of `dtype`; in float64, parameters are too."""
    import seqio
    from flax.traverse_util import flatten_dict, unflatten_dict
    from t5x import adafactor, models, train_state, trainer, utils
    from t5x.examples.t5 import network

    kept = "float64" if dtype == "float64" else "float32"
    config = network.T5Config(**SIZES, dtype=dtype, mlp_activations=("gelu", "linear"))
    vocabulary = seqio.PassThroughVocabulary(SIZES["vocab_size"], eos_id=1)
    optimizer = adafactor.Adafactor(
        decay_rate=0.8,
        step_offset=0,
        logical_factor_rules=adafactor.standard_logical_factor_rules(),
    )
    model = models.EncoderDecoderModel(
        network.Transformer(config), vocabulary, vocabulary, optimizer, z_loss=Z_LOSS
    )
    features = {"encoder_input_tokens": (BATCH, INPUTS), "decoder_input_tokens": (BATCH, TARGETS)}
    variables = model.get_initial_variables(jax.random.key(0), features)
    drawn = start({k: v.shape for k, v in flatten_dict(variables["params"], sep="/").items()})
    params = unflatten_dict({tuple(k.split("/")): jnp.asarray(v, kept) for k, v in drawn.items()})
    state: Any = train_state.FlaxOptimTrainState.create(optimizer, {**variables, "params": params})
    learning_rate = utils.create_learning_rate_scheduler(
        factors="constant * linear_warmup",
        base_learning_rate=LEARNING_RATE,
        warmup_steps=WARMUP_STEPS,
    )

    @jax.jit
    def train(state: Any, batch: Any) -> Any:
        return trainer.train_with_lr(
            state, batch, learning_rate(state.step), jax.random.key(1), model, None
        )

    losses = []
    for batch in batches():
        targets = batch["targets"]
        state, metrics = train(
            state,
            {
                "encoder_input_tokens": batch["inputs"],
                "decoder_input_tokens": np.pad(targets[:, :-1], ((0, 0), (1, 0))),
                "decoder_target_tokens": targets,
                "decoder_loss_weights": (targets > 0).astype(np.int32),
            },
        )
        losses.append([float(metrics[name].total) for name in ("loss", "z_loss")])
    loss, z_loss = np.array(losses, kept).T
    result = {"loss": loss, "z_loss": z_loss}
    for name, value in flatten_dict(jax.device_get(state.params), sep="/").items():
        result[f"mean/{name}"] = np.mean(value, dtype=np.float64)
        result[f"sample/{name}"] = sample(value)
    return result


def in_float64() -> dict[str, np.ndarray]:
    """The truth."""
    from t5x import adafactor, losses, models, trainer, utils
    from t5x.examples.t5 import layers, network

    modules = [adafactor, layers, losses, models, network, trainer, utils]
    with t5x_precision.float64(modules):
        result = trajectory("float64")
    assert all(x.dtype == np.float64 for x in result.values())
    return result


def main() -> None:
    """Writes the archive."""
    arrays = t5x_precision.measured(lambda: trajectory("float32"), in_float64)
    of_bfloat16 = {f"bfloat16/{name}": x for name, x in trajectory("bfloat16").items()}
    np.savez_compressed(ARCHIVE, **arrays, **of_bfloat16)


if __name__ == "__main__":
    main()
