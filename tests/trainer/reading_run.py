"""Trains as the command does, and writes down what this process read of each batch.

python launch/distributed.py tests.trainer.reading_run FOLDER COMMAND'S ARGUMENTS
"""

import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from recalign import cli
from recalign.trainer import partitioning


def noted(train: Callable[[], Any]) -> np.ndarray:
    """Trains; what this process read of each batch's inputs, int32 [steps, rows, L]."""
    read = []
    shard_local = partitioning.shard_local

    def noting(mesh, batch):
        read.append(batch["inputs"])
        return shard_local(mesh, batch)

    partitioning.shard_local = noting
    try:
        train()
    finally:
        partitioning.shard_local = shard_local
    return np.stack(read)


def main(folder: str, *words: str) -> int:
    statuses = []
    read = noted(lambda: statuses.append(cli.main(words)))
    np.save(pathlib.Path(folder) / f"read_{jax.process_index()}.npy", read)
    return statuses[0]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
