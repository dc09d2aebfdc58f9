"""What large checkpoints cost: memory of a conversion, and what a host reads of sharded weights."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from recalign.weights import convert

# 94 million parameters, most of them in the encoder's 30 layers: a stack is far larger than the
# largest tensor. Values are constant, so that compression takes no time. Written by one process and
# converted by another, which would take again unnoticed what it gave back before: by a fork, made
# before JAX has any device, so that the libraries are loaded once.
CONVERTING = """
import dataclasses, json, os, pathlib, re, sys
import jax, jax.numpy as jnp, numpy as np
from etils import epath
from recalign.model.t5.config import T5Config
from recalign.trainer.checkpoints import Checkpoints
from recalign.trainer.partitioning import make_mesh
from recalign.trainer.state import state_shape
from tests.optimizers import make_optimizer
from recalign.weights import convert, inspection, t5x_legacy
from recalign.weights.tensors import Tensor, Weights

folder = pathlib.Path(sys.argv[1])
config = T5Config(vocab_size=8192, emb_dim=512, num_heads=8, num_encoder_layers=30,
                  num_decoder_layers=2, head_dim=64, mlp_dim=1024)

def constant(number, shape):
    read = lambda index: np.full([part.stop - part.start for part in index], number, np.float32)
    return Tensor(shape, np.dtype(np.float32), read)

def write(config, folder):
    folder.mkdir()
    shapes = inspection.param_shapes(config)
    params = {name: constant(number, shape) for number, (name, shape) in enumerate(shapes.items())}
    t5x_legacy.write(Weights("made", params, {}, 3), config, folder, lambda size: None)

writing = os.fork()
if not writing:
    write(config, folder / "checkpoint_3")
    write(dataclasses.replace(config, num_encoder_layers=2, vocab_size=64), folder / "small")
    shape = state_shape(config, make_optimizer(1e-3, 10, 0), make_mesh(1))
    state = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), shape)
    checkpoints = Checkpoints(epath.Path(folder / "run"))
    checkpoints.save(state, 0)
    checkpoints.close()
    sys.exit()
assert os.waitpid(writing, 0)[1] == 0

def peak_growth(action):
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    status = pathlib.Path("/proc/self/status")
    now = lambda key: int(re.search(key + r":\\s+(\\d+)", status.read_text())[1]) * 1024
    before = now("VmRSS")
    action()
    return now("VmHWM") - before

def converted(source, destination, to):
    return peak_growth(lambda: convert(
        str(folder / source), str(folder / destination), destination_format=to))

CONVERSIONS = {
    "t5x to own": ("checkpoint_3", "own", "own"),
    "trainer's own to t5x": ("run", "t5x", "t5x"),
    "own to t5x_orbax": ("own", "orbax", "t5x_orbax"),
    "t5x_orbax to hugging_face": ("orbax", "hf", "hugging_face"),
}
converted("small", "loads_the_libraries", "own")
grown = {name: converted(*CONVERSIONS[name]) for name in list(CONVERSIONS)[: int(sys.argv[2])]}
sizes = [int(np.prod(shape)) for shape in inspection.param_shapes(config).values()]
print(json.dumps([[4 * sum(sizes), 4 * max(sizes), 4 * 30 * 512 * 1024], grown]))
"""

SHARDED = """
import json, os, sys
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from recalign.model.t5.config import T5Config
from recalign.trainer.partitioning import make_mesh, state_shardings
from recalign.weights import formats, load_params
from recalign.weights.tensors import Tensor
import dataclasses

config = T5Config(vocab_size=160, emb_dim=128, num_heads=2, num_encoder_layers=3,
                  num_decoder_layers=2, head_dim=8, mlp_dim=24)
read = {}
opened = formats.open_weights
def counting(name, folder):
    weights = opened(name, folder)
    def counted(name, tensor):
        def part(index):
            array = tensor.read(index)
            read.setdefault(name, []).append(array.shape)
            return array
        return dataclasses.replace(tensor, read=part)
    params = {name: counted(name, tensor) for name, tensor in weights.params.items()}
    return dataclasses.replace(weights, params=params)
formats.open_weights = counting

mesh = make_mesh(2)
shardings = state_shardings(mesh, config.params_shape())
found = {}
for path in sys.argv[1:]:
    whole, _ = load_params(path, config)
    read.clear()
    sharded, _ = load_params(path, config, shardings)
    same = jax.tree.map(lambda a, b: bool((np.asarray(a) == np.asarray(b)).all()), whole, sharded)
    kernel = sharded["encoder"]["layers"]["mlp"]["wo"]["kernel"]
    found[path] = {
        "same": all(jax.tree.leaves(same)),
        "devices": len(jax.devices()),
        "embedding": sorted(read["token_embedder/embedding"]),
        "wo": sorted(read["encoder/layers_1/mlp/wo/kernel"]),
        "shard": kernel.addressable_shards[0].data.shape,
    }
print(json.dumps(found))
"""


def _run(script: str, *arguments, **environment) -> Any:
    script = f"from recalign import quiet; quiet.load_tensorflow()\n{script}"  # without Keras
    outcome = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stderr[-2000:]
    return json.loads(outcome.stdout.splitlines()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("conversions", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_a_conversion_holds_a_tensor_at_a_time(tmp_path, conversions):
    # One arena: what each thread's own keeps after it was freed differs from run to run.
    (whole, largest, stack), growth = _run(CONVERTING, tmp_path, conversions, MALLOC_ARENA_MAX="1")
    margin = 96 * 2**20
    assert whole > 2.5 * (largest + margin)
    assert 2 * stack > largest + margin  # read, and on its way
    assert len(growth) == conversions
    for conversion, grown in growth.items():
        assert grown < largest + margin, (conversion, grown)


def test_sharded_weights_are_read_once(own_run, tmp_path):
    paths = [own_run] + [
        convert(str(own_run), str(tmp_path / name), destination_format=name).destination
        for name in ("t5x", "hugging_face")
    ]
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    found = _run(SHARDED, *paths, XLA_FLAGS=flags)
    assert len(found) == len(paths)
    for path, measured in found.items():
        assert measured["same"] and measured["devices"] == 4, path
        # For all devices of the process; what several processes read: tests/trainer/test_xl_shapes.
        assert measured["embedding"] == [[160, 128]], path
        assert measured["wo"] == [[24, 128]], path
        assert measured["shard"] == [3, 12, 128], path
