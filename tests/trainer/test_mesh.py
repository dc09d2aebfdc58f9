"""One step is the same step on every mesh: eight devices made of one processor."""

import functools
import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests.conftest import compiled_quickly

# 4x2 has copies, as 8x1, and partitions, as 2x2: the same assertions of both. Copies alone are what
# test_processes.py trains with.
TOGETHER, APART = ("4x2",), ("8x1", "2x2")
MESHES = [*TOGETHER, *(pytest.param(mesh, marks=pytest.mark.slow) for mesh in APART)]

# A process of its own: how many devices there are is settled when JAX starts.
SCRIPT = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
from recalign.model.t5.config import T5Config
from recalign.model.contest import Contest
from recalign.model.decode import Beams, beam_decode
from recalign.model.score import score_candidates
from recalign.model.trie import Trie
from recalign.trainer import partitioning
from recalign.trainer.state import new_state, random_params
from tests.optimizers import make_optimizer, train_step_of

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
    step = train_step_of(config, optimizer, mesh)
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
        "contest": contested(mesh, state.params) if decode and copies > 1 else None,
        "rows": [rows.start, rows.stop],
        "kernel": kernel.addressable_shards[0].data.shape,
        "table": table.addressable_shards[0].data.shape,
        "relpos": moments.addressable_shards[0].data.shape,
    }

PAIRS = random.permutation(400)[:60].tolist()
trie = Trie.from_sequences([(9, 10 + pair // 20, 10 + pair % 20) for pair in PAIRS], 1)
pools = np.stack([random.permutation(60) for _ in range(8)]).astype(np.int32)
prior = random.normal(-16, 4, pools.shape).astype(np.float32)

def contested(mesh, params):
    # All candidates' scores, and those that a contest for three of them leaves of them.
    def score(params, inputs, pools, prior, wanted):
        every = score_candidates(params, config, inputs, trie, pools)
        best, places = jax.lax.top_k(every, 4)
        tokens = trie.tokens(jnp.take_along_axis(pools, places, axis=1))
        contest = Contest(prior, wanted, Beams(tokens, best, best))
        return every, score_candidates(params, config, inputs, trie, pools, contest)

    given = (batch["inputs"], pools, prior, np.full(8, 3, np.int32))
    every, some = map(np.asarray, jax.jit(score)(
        params, *[partitioning.shard_whole(mesh, it) for it in given]))
    likeliest = [np.argsort(-np.logaddexp(it, prior))[:, :3] for it in (every, some)]
    kept = some > -1e7
    return {
        "devices": mesh.size,
        "gap": float(np.max(np.abs(every - some)[kept])),
        "likeliest": bool((likeliest[0] == likeliest[1]).all()),
        "kept": kept.sum(axis=1).tolist(),
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
    with compiled_quickly():
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


@pytest.mark.parametrize("mesh", TOGETHER)
def test_a_contest_of_spread_candidates_has_the_winners_of_all(found):
    contest = found["contest"]
    assert contest["devices"] == 8
    assert contest["likeliest"] and contest["gap"] < 1e-4
    assert all(3 <= kept < 40 for kept in contest["kept"])


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
