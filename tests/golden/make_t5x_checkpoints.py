"""Makes t5x_checkpoints.zip: one tiny train state, written by T5X itself in both of its layouts.

    python tests/golden/make_t5x_checkpoints.py     # where `import t5x` works

The archive holds `legacy/checkpoint_7` (written by `Checkpointer`), `orbax/checkpoint_7` (by
`OrbaxCheckpointManagerInterface`) and `expected.npz`: the values, the tokens and T5X's logits.
Values are drawn from a few numbers only, so that the archive is small.
"""

import importlib.util  # noqa: F401  (gin needs it where a file is missing)
import pathlib
import tempfile
import zipfile
import zlib

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from t5x import adafactor, checkpoints, partitioning, train_state
from t5x.examples.t5 import network

SIZES = {
    "vocab_size": 144,
    "emb_dim": 128,
    "num_heads": 2,
    "num_encoder_layers": 2,
    "num_decoder_layers": 1,
    "head_dim": 8,
    "mlp_dim": 136,
}
STEP = 7
ARCHIVE = pathlib.Path(__file__).parent / "t5x_checkpoints.zip"


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values of an array, from its name."""
    numbers = np.random.default_rng(zlib.crc32(name.encode())).integers(1, 5, shape)
    return (numbers / 8 if "/v" in name or "scale" in name else (numbers - 2.5) / 16).astype("f4")


def main() -> None:
    """Writes the archive."""
    config = network.T5Config(
        **SIZES, dtype=jnp.float32, mlp_activations=("gelu", "linear"), dropout_rate=0.0
    )
    model = network.Transformer(config)
    rng = np.random.default_rng(0)
    inputs = rng.integers(2, SIZES["vocab_size"], (2, 9)).astype(np.int32)
    inputs[1, 6:] = 0
    decoder_inputs = np.pad(rng.integers(2, SIZES["vocab_size"], (2, 4)), ((0, 0), (1, 0)))
    decoder_inputs = decoder_inputs.astype(np.int32)
    variables = model.init(
        jax.random.key(0), inputs, decoder_inputs, decoder_inputs, enable_dropout=False
    )
    optimizer = adafactor.Adafactor(
        decay_rate=0.8,
        step_offset=0,
        logical_factor_rules=adafactor.standard_logical_factor_rules(),
    )
    state = train_state.FlaxOptimTrainState.create(optimizer, variables)
    values = {
        name: np.asarray(leaf) if leaf.shape in ((), (1,)) else drawn(name, leaf.shape)
        for name, leaf in flatten_dict(state.state_dict(), sep="/").items()
    }
    values["state/step"] = np.int32(STEP)
    as_jax = {tuple(name.split("/")): jnp.asarray(value) for name, value in values.items()}
    state = state.restore_state(unflatten_dict(as_jax))
    logits = model.apply(
        {"params": state.params}, inputs, decoder_inputs, decoder_inputs, enable_dropout=False
    )
    partitioner = partitioning.PjitPartitioner(num_partitions=1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        (folder / "legacy").mkdir()
        checkpoints.Checkpointer(state, partitioner, str(folder / "legacy")).save(state)
        (folder / "orbax").mkdir()
        manager = checkpoints.OrbaxCheckpointManagerInterface(
            str(folder / "orbax"), state, partitioner
        )
        manager.save(state)
        manager.wait_until_finished()
        manager.close()
        np.savez_compressed(
            folder / "expected.npz",
            inputs=inputs,
            decoder_inputs=decoder_inputs,
            logits=np.asarray(logits),
            **values,
        )
        with zipfile.ZipFile(ARCHIVE, "w", zipfile.ZIP_LZMA) as archive:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    archive.write(path, path.relative_to(folder))


if __name__ == "__main__":
    main()
