"""One step is the same step on every mesh: eight devices made of one processor."""

import functools
import json
import os
import pathlib
import subprocess
import sys

import pytest

# 4x2 has copies, as 8x1, and partitions, as 2x2: the same assertions of both. Copies alone are what
# test_processes.py trains with.
TOGETHER, APART = ("4x2",), ("8x1", "2x2")
MESHES = [*TOGETHER, *(pytest.param(mesh, marks=pytest.mark.slow) for mesh in APART)]

# A process of its own: how many devices there are is settled when JAX starts.
SCRIPT = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
from recalign.model.t5.config import T5Config
from recalign.model.decode import beam_decode
from recalign.trainer import partitioning
from recalign.trainer.state import make_optimizer, make_train_step, new_state, random_params

config = T5Config(
    vocab_size=256, emb_dim=128, num_heads=8, num_encoder_layers=2, num_decoder_layers=2,
    head_dim=16, mlp_dim=256, dropout_rate=0.1, remat=True,
)
random = np.random.default_rng(0)
batch = {
    name: random.integers(2, 256, (8, length), dtype=np.int32)
    for name, length in (("inputs", 24), ("targets", 8))
}

def run(copies, partitions, decode):
    devices = jax.devices()[: copies * partitions]
    mesh = partitioning.make_mesh(partitions, devices)
    optimizer = make_optimizer(0.01, 0, 0)
    state = new_state(random_params(config, 0, mesh), optimizer, 0, mesh)
    step = make_train_step(
        config, optimizer, mesh, seed=0, microbatches=1, log_period=100, z_loss=1e-4,
        label_smoothing=0.0, loss_normalizing_factor=None,
    )
    losses = []
    for _ in range(3):
        state, outcome = step(state, partitioning.shard_local(mesh, batch))
        losses.append(float(outcome.parts.loss))
    rows = partitioning.rows_of_this_process(8, mesh)
    beams = decode and jax.jit(lambda params, inputs: beam_decode(
        params, config, inputs, beam_size=3, max_decode_len=5,
        batch_sharding=partitioning.batch_sharding(mesh)))(
        state.params, partitioning.shard_whole(mesh, batch["inputs"]))
    kernel = state.params["encoder"]["layers"]["mlp"]["wi_0"]["kernel"]
    table = state.params["token_embedder"]["embedding"]
    moments = state.optimizer.v["decoder"]["relpos_bias"]["rel_embedding"]
    return losses, jax.device_get(state), jax.device_get(beams), {
        "rows": [rows.start, rows.stop],
        "kernel": kernel.addressable_shards[0].data.shape,
        "table": table.addressable_shards[0].data.shape,
        "relpos": moments.addressable_shards[0].data.shape,
    }

DECODED = (4, 2)
meshes = [tuple(map(int, mesh.split("x"))) for mesh in sys.argv[1:]]
losses, state, beams, _ = run(1, 1, True)
found = {}
for mesh in meshes:
    other_losses, other_state, other_beams, held = run(*mesh, decode=mesh == DECODED)
    gaps = jax.tree.map(lambda a, b: float(np.max(np.abs(a - b))), state.params, other_state.params)
    found["x".join(map(str, mesh))] = {
        "losses": float(np.max(np.abs(np.subtract(losses, other_losses)) / losses)),
        "parameters": max(jax.tree.leaves(gaps)),
        "moments": max(
            float(np.max(np.abs(a - b) / (np.abs(a) + 1e-9)))
            for a, b in zip(*map(jax.tree.leaves, (state.optimizer, other_state.optimizer)))
        ),
        "beams": bool(not other_beams or (beams.tokens_BxKxT == other_beams.tokens_BxKxT).all()),
        **held,
    }
print(json.dumps({"losses": losses, "meshes": found}))
"""


@functools.cache
def outcome_of(meshes):
    """What a process of its own found of one device and of these meshes."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, *meshes],
        cwd=pathlib.Path(__file__).resolve().parents[2],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout)


@pytest.fixture
def found(mesh):
    return outcome_of(TOGETHER if mesh in TOGETHER else (mesh,))["meshes"][mesh]


@pytest.mark.parametrize("mesh", MESHES)
def test_losses_and_parameters_are_those_of_one_device(found):
    assert found["losses"] < 1e-5
    assert found["parameters"] < 1e-5
    assert found["moments"] < 1e-3
    assert found["beams"]


def test_training_did_something():
    first, _, last = outcome_of(TOGETHER)["losses"]
    assert last < first


@pytest.mark.parametrize("mesh", MESHES)
def test_parameters_are_spread_over_the_model_axis_alone(found, mesh):
    partitions = int(mesh.split("x")[1])
    assert found["kernel"] == [2, 128, 256 // partitions]
    assert found["table"] == [256 // partitions, 128]
    assert found["relpos"] == [8 // partitions, 32]


@pytest.mark.parametrize("mesh", MESHES)
def test_one_process_reads_the_whole_batch(found):
    assert found["rows"] == [0, 8]
