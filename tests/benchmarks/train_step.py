"""One training step beside T5X's, at the same shapes with the same optimizer.

    PYTHONPATH=. python tests/benchmarks/train_step.py [--rounds 7]

Batch 8, inputs 512, targets 8, width 256, 4+4 layers, float32, dropout 0.1, z-loss, Adafactor.
Prints one JSON line: `step_time_over_t5x` (layers compiled one by one, as T5X's are),
`scanned_step_time_over_t5x` (layers as one loop, the default, which compiles faster), both also
in processor seconds, and seconds. The ratios are null where T5X cannot be imported.
"""

import argparse
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from common import (
    BATCH,
    CONFIG,
    INPUTS,
    TARGETS,
    Timings,
    drawn_tokens,
    rounded,
    seeded_params,
    t5x_model,
)

from recalign.model.config import T5Config
from recalign.trainer import partitioning
from recalign.trainer.state import make_optimizer, make_train_step, new_state

_INPUTS_BxL = drawn_tokens(BATCH, INPUTS, seed=1)
_TARGETS_BxT = drawn_tokens(BATCH, TARGETS, seed=2)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    config = dataclasses.replace(CONFIG, dropout_rate=0.1)
    programs = {
        "unrolled": own_step(dataclasses.replace(config, unroll_layers=True)),
        "scanned": own_step(config),
    }
    if theirs := t5x_step(config):
        programs["t5x"] = theirs
    timings = Timings(programs, options.rounds)
    figures: dict[str, Any] = {
        f"{prefix}step_time_over_t5x{suffix}": ratio(name, "t5x") if theirs else None
        for prefix, name in (("", "unrolled"), ("scanned_", "scanned"))
        for suffix, ratio in (("", timings.ratio), ("_processor", timings.processor_ratio))
    }
    figures["seconds"] = {name: timings.seconds(name) for name in programs}
    print(json.dumps(rounded(figures)))


def own_step(config: T5Config) -> Callable[[], Any]:
    """Each call is a step; it goes on from the state that the last one left."""
    mesh = partitioning.make_mesh()
    optimizer = make_optimizer(learning_rate=0.001, warmup_steps=1000, first_step=0)
    step = make_train_step(
        config,
        optimizer,
        mesh,
        seed=0,
        microbatches=1,
        log_period=100,
        z_loss=1e-4,
        label_smoothing=0.0,
        loss_normalizing_factor=None,
    )
    batch = partitioning.shard_local(mesh, {"inputs": _INPUTS_BxL, "targets": _TARGETS_BxT})
    state = new_state(seeded_params(config), optimizer, 0, mesh)

    def run() -> Any:
        nonlocal state
        state, outcome = step(state, batch)
        return state, outcome

    return run


def t5x_step(config: T5Config) -> Callable[[], Any] | None:
    """The same by T5X's model, train state and trainer."""
    model = t5x_model(config)
    if model is None:
        return None
    from t5x import train_state, trainer

    batch = {
        "encoder_input_tokens": jnp.asarray(_INPUTS_BxL),
        "decoder_input_tokens": jnp.pad(_TARGETS_BxT[:, :-1], ((0, 0), (1, 0))),
        "decoder_target_tokens": jnp.asarray(_TARGETS_BxT),
        "decoder_loss_weights": jnp.ones((BATCH, TARGETS), jnp.int32),
    }
    shapes = {name: rows.shape for name, rows in batch.items()}
    types = {name: rows.dtype for name, rows in batch.items()}
    variables = jax.jit(lambda: model.get_initial_variables(jax.random.key(0), shapes, types))()
    state = train_state.FlaxOptimTrainState.create(model.optimizer_def, variables)

    def train(state: Any, batch: Any) -> Any:
        key = jax.random.fold_in(jax.random.key(1), state.step)
        return trainer.train_with_lr(state, batch, 0.001, key, model, None)

    compiled = jax.jit(train, donate_argnums=0)

    def run() -> Any:
        nonlocal state
        state, metrics = compiled(state, batch)
        return state.params, metrics

    return run


if __name__ == "__main__":
    main()
