"""XL in fact, but for the number of layers: no process holds more of it than its devices' shards.

A checkpoint of T5X's own layout is made, as wide as XL; processes start a run from it as the
trainer does, and the operating system says what they held at most.
"""

import json
import math
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from recalign.weights import inspection, t5x_legacy
from recalign.weights.tensors import Tensor, Weights
from tests.trainer.xl_start import experiment, made, numbered

STEP, DEVICES = 1_138_000, 8
# Threads, chunks being unpacked, programs being compiled: it does not grow with the model.
MARGIN = 256 * 2**20

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


@pytest.fixture(scope="module")
def sizes():
    """Bytes of the parameters in float32, and those of the largest array of the tree."""
    shapes = inspection.param_shapes(experiment("").network)
    arrays = [4 * math.prod(shape) for shape in shapes.values()]
    return sum(arrays), max(arrays)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    config = experiment("").network
    numbers, shapes = numbered(config), inspection.param_shapes(config)

    def tensor(name):
        return Tensor(shapes[name], np.dtype(np.float32), lambda index: made(numbers[name], index))

    folder = tmp_path_factory.mktemp("xl") / f"checkpoint_{STEP}"
    folder.mkdir()
    params = {name: tensor(name) for name in shapes}
    t5x_legacy.write(Weights("made", params, {}, STEP), config, folder, lambda size: None)
    return folder


def start(checkpoint, partitions, processes):
    """What each process says of itself; they share the devices equally."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    devices = f"--xla_force_host_platform_device_count={DEVICES // processes}"
    flags = f"{os.environ.get('XLA_FLAGS', '')} {devices}"
    shared, others = [str(checkpoint), str(partitions)], [str(processes), address]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.trainer.xl_start", *shared, str(number), *others],
            env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    said = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0] * processes
    return [json.loads(text.splitlines()[-1]) for text in said]


@pytest.mark.parametrize(("partitions", "processes"), [(4, 1), (8, 1), (8, 2)])
def test_a_process_holds_its_shards_and_one_array_on_its_way(
    checkpoint, sizes, partitions, processes
):
    whole, largest = sizes
    for found in start(checkpoint, partitions, processes):
        assert found["right"] and found["step"] == STEP
        # Scales of norms and factored moments are on each device.
        assert whole / partitions < max(found["held"]) < 1.01 * whole / partitions
        assert len(found["held"]) == DEVICES // processes
        assert found["grown"] < sum(found["held"]) + largest / processes + MARGIN, found
