"""Makes t5x_checkpoints.tar.xz: one tiny train state, written by T5X itself in both of its layouts.

    PYTHONPATH=. python tests/golden/make_t5x_checkpoints.py     # where `import t5x` works

The archive holds `legacy/checkpoint_7` (written by `Checkpointer`), `orbax/checkpoint_7` (by
`OrbaxCheckpointManagerInterface`) and `expected.npz`: tokens, and T5X's logits in float64 with its
float32 error (`t5x_precision.py`). Tables are products of a row and a column, so that the archive
is small.
"""

import functools
import importlib.util  # noqa: F401  (gin needs it where a file is missing)
import pathlib
import tarfile
import tempfile
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from tests.golden import t5x_precision

SIZES = {
    "vocab_size": 132,
    "emb_dim": 128,
    "num_heads": 2,
    "num_encoder_layers": 2,
    "num_decoder_layers": 1,
    "head_dim": 8,
    "mlp_dim": 130,
}
STEP = 7
ARCHIVE = pathlib.Path(__file__).parent / "t5x_checkpoints.tar.xz"


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values of an array, from its name."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    row_and_column = [rng.integers(1, 3, size) / 2 for size in shape]
    values = functools.reduce(np.multiply.outer, row_and_column).astype(np.float32)
    positive = "/v" in name or "scale" in name
    return values if positive else (values - 0.4) / 8


def without_owner(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """The same on every machine."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def tokens() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, the decoder's inputs and targets."""
    rng = np.random.default_rng(0)
    inputs = rng.integers(2, SIZES["vocab_size"], (2, 9)).astype(np.int32)
    inputs[1, 6:] = 0
    targets = rng.integers(2, SIZES["vocab_size"], (2, 5)).astype(np.int32)
    return inputs, np.pad(targets[:, :-1], ((0, 0), (1, 0))), targets


def t5x_model(dtype: Any) -> Any:
    """T5X's network of these sizes."""
    from t5x.examples.t5 import network

    return network.Transformer(
        network.T5Config(**SIZES, dtype=dtype, mlp_activations=("gelu", "linear"), dropout_rate=0.0)
    )


def logits_of(dtype: Any) -> dict[str, np.ndarray]:
    """`logits` [2, 5, 132] of the values that the archive holds."""
    model = t5x_model(dtype)
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), *tokens(), enable_dropout=False)["params"]
    )
    params = {
        name: jnp.asarray(drawn("target/" + "/".join(name), leaf.shape), dtype)
        for name, leaf in flatten_dict(shapes).items()
    }
    applied = jax.jit(lambda p: model.apply({"params": p}, *tokens(), enable_dropout=False))
    return {"logits": np.asarray(applied(unflatten_dict(params)))}


def in_float64() -> dict[str, np.ndarray]:
    """The truth."""
    from t5x.examples.t5 import layers, network

    with t5x_precision.float64([layers, network]):
        found = logits_of(jnp.float64)
    assert found["logits"].dtype == np.float64
    return found


def main() -> None:
    """Writes the archive."""
    # Here, so that the tests, which do without T5X, can ask for the values.
    from t5x import adafactor, checkpoints, partitioning, train_state

    logits = t5x_precision.measured(lambda: logits_of(jnp.float32), in_float64)
    model = t5x_model(jnp.float32)
    inputs, decoder_inputs, targets = tokens()
    variables = model.init(jax.random.key(0), inputs, decoder_inputs, targets, enable_dropout=False)
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
    found = model.apply(
        {"params": state.params}, inputs, decoder_inputs, targets, enable_dropout=False
    )
    # The state's weights are those that the truth was computed of.
    t5x_precision.assert_as_precise_as_t5x(found, logits, "logits")
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
            **logits,
        )
        for path in folder.rglob("commit_success.txt"):
            path.write_text("Checkpoint commit was successful")
        with tarfile.open(ARCHIVE, "w:xz") as archive:
            for name in ("legacy", "orbax", "expected.npz"):
                archive.add(folder / name, name, filter=without_owner)


if __name__ == "__main__":
    main()
