"""One process of a run with XL's shapes, up to its first step: what it held, and if it is right.

python -m tests.trainer.xl_start CHECKPOINT NUM_PARTITIONS NUMBER PROCESSES ADDRESS
"""

import json
import pathlib
import re
import sys

import jax
import numpy as np

from recalign.model.t5.config import T5Config
from recalign.trainer import partitioning
from recalign.trainer.experiment import Experiment, load_experiment
from recalign.trainer.start_values import start_weights
from recalign.trainer.state import TrainState, new_state
from recalign.weights import inspection
from recalign.weights.tensors import Index, flatten, stacks
from tests.optimizers import make_optimizer


def experiment(checkpoint: str, partitions: int = 1) -> Experiment:
    """UT+AT with XL, but for the number of layers."""
    return load_experiment(
        ["gin/ut_at_toys.gin"],
        [
            "MODEL_DIR = 'unused'",
            f"INITIAL_CHECKPOINT_PATH = {checkpoint!r}",
            f"NUM_PARTITIONS = {partitions}",
            "NUM_ENCODER_LAYERS = 2",
            "NUM_DECODER_LAYERS = 2",
        ],
    )


def numbered(config: T5Config) -> dict[str, int]:
    """A number for each tensor of a checkpoint, by T5X's name."""
    return {name: number for number, name in enumerate(inspection.param_shapes(config))}


def made(number: int, index: Index) -> np.ndarray:
    """A part of the tensor of that number: whole float32 values that tell where they lie."""
    axes = [axis.astype(np.float32) for axis in np.ogrid[index]]
    return sum((axis % 640 * 700**place for place, axis in enumerate(axes)), np.float32(number))


def started(experiment: Experiment, mesh: jax.sharding.Mesh) -> TrainState:
    """As `recalign.trainer.loop` starts."""
    params, step = start_weights(experiment, None, mesh)
    optimizer = make_optimizer(experiment.learning_rate, experiment.warmup_steps, step)
    return jax.block_until_ready(new_state(params, optimizer, step, mesh))


def is_right(params: dict, config: T5Config) -> bool:
    """Whether each shard has what the checkpoint has there."""
    numbers = numbered(config)
    of_stack = stacks(numbers)
    for stack, leaf in flatten(params, lambda node: False).items():
        layers = [numbers[name] for name in of_stack[stack]]
        for shard in leaf.addressable_shards:
            data = np.asarray(shard.data)
            index = [
                slice(*axis.indices(n)) for axis, n in zip(shard.index, leaf.shape, strict=True)
            ]
            parts = [data]
            if "layers/" in stack:
                layers, parts = layers[index[0]], list(data)
                del index[0]
            for number, part in zip(layers, parts, strict=True):
                if not np.array_equal(part, made(number, tuple(index))):
                    return False
    return True


def memory(key: str) -> int:
    """VmRSS, what this process holds, or VmHWM, the most that it held, in bytes."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(key + r":\s+(\d+)", status)[1]) * 1024


if __name__ == "__main__":
    checkpoint, partitions, number, processes, address = sys.argv[1:]
    if int(processes) > 1:
        jax.distributed.initialize(address, int(processes), int(number))
    run = experiment(checkpoint, int(partitions))
    mesh = partitioning.make_mesh(run.num_partitions)
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of the imports
    before = memory("VmRSS")
    state = started(run, mesh)
    grown = memory("VmHWM") - before
    held: dict[int, int] = {}
    for leaf in jax.tree.leaves(state):
        for shard in leaf.addressable_shards:
            held[shard.device.id] = held.get(shard.device.id, 0) + shard.data.nbytes
    print(
        json.dumps(
            {
                "grown": grown,
                "before": before,
                "held": list(held.values()),
                "step": int(state.step),
                "right": is_right(state.params, run.network),
            }
        )
    )
