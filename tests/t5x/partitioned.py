"""The fast decoders with parameters spread over two devices, beside one device.

Run as a program: the number of devices is decided before JAX starts.
    python partitioned.py DATA_DIR      prints "equal beams: N" or fails
"""

import sys

import jax
import numpy as np
import seqio

from recalign.trainer import partitioning, setup
from recalign.trainer.experiment import load_experiment
from recalign.trainer.state import random_params
from tests.t5x.conftest import FILES, TINY
from tests.t5x.engine import T5X, batch_of
from tests.t5x_names import to_t5x


def main(data_dir: str) -> None:
    """Compares both decoders' beams."""
    given = {**TINY, "MODEL_DIR": "unused", "DATA_DIR": data_dir}
    made = load_experiment(FILES, [f"{name} = {value!r}" for name, value in given.items()])
    setup.prepare(made)
    seqio.set_tfds_data_dir_override(data_dir)  # as T5X's --tfds_data_dir
    params = jax.tree.map(np.asarray, random_params(made.network, 3, partitioning.make_mesh()))
    rng = np.random.default_rng(0)
    inputs_BxL = rng.integers(2, 600, (8, 96))
    inputs_BxL[:, 60:] = 0
    batch = batch_of(inputs_BxL, np.zeros((8, 6), np.int32))
    batch["answers"] = np.full((8, TINY["CANDIDATE_POOL"]), -1, np.int32)
    batch["answers"][:3, 0] = [0, 5, 9]
    compared = 0
    for decoder in ("fast", "constrained"):
        run = T5X(made, params, decoder)
        assert any(
            not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(run.state.params)
        )
        step = run.partitioner.partition(
            run.model.predict_batch_with_aux,
            in_axis_resources=(run.axes.params, run.partitioner.data_partition_spec),
            out_axis_resources=None,
        )
        spread_BxKxT, spread = step(run.state.params, batch)
        whole_BxKxT, whole = jax.jit(run.model.predict_batch_with_aux)(to_t5x(params), batch)
        np.testing.assert_array_equal(spread_BxKxT, whole_BxKxT)
        np.testing.assert_allclose(spread["scores"], whole["scores"], rtol=1e-4, atol=1e-4)
        compared += spread_BxKxT.shape[0] * spread_BxKxT.shape[1]
    print("equal beams:", compared)


if __name__ == "__main__":
    main(sys.argv[1])
