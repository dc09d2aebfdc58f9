"""One training step beside T5X's, at the same shapes with the same optimizer, plain and packed.

    PYTHONPATH=. python tests/benchmarks/train_step.py [--rounds 7] [--rows 4]

Batch 8, inputs 512, targets 8, width 256, 4+4 layers, float32, dropout 0.1, z-loss, Adafactor.
Prints one JSON line: `step_time_over_t5x` (layers compiled one by one, as T5X's are),
`scanned_step_time_over_t5x` (layers as one loop, the default, which compiles faster), both also
in processor seconds, and seconds. The ratios are null where T5X cannot be imported.

Then Toys' own UT+AT examples at 1,024 inputs and 128 targets, four rows a step, with a tiny network
(width 64, 2+2 layers) and T5's vocabulary, packed rows beside rows of one example: how many times
the examples a second (`packed_examples_over_unpacked`, `packed_examples_over_t5x_unpacked`,
`packed_examples_over_t5x_packed`). They are null where the shared folder (RECALIGN_SHARED) is not.
"""

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from common import (
    BATCH,
    CONFIG,
    INPUTS,
    TARGETS,
    Timings,
    drawn_tokens,
    rounded,
    seeded_params,
    shared_folder,
    t5x_model,
)

from recalign.model.network import shift_right
from recalign.model.t5.config import T5Config
from recalign.trainer import partitioning
from recalign.trainer.state import new_state
from tests.optimizers import make_optimizer, train_step_of

_TINY = T5Config(
    emb_dim=64, num_heads=4, num_encoder_layers=2, num_decoder_layers=2, head_dim=16, mlp_dim=128,
    dropout_rate=0.1, unroll_layers=True,
)  # fmt: skip
_DRAWN_ROWS = {
    "inputs": drawn_tokens(BATCH, INPUTS, seed=1),
    "targets": drawn_tokens(BATCH, TARGETS, seed=2),
}
Rows = Mapping[str, np.ndarray]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rows", type=int, default=4, help="of a step of Toys' own examples")
    options = parser.parse_args()
    config = dataclasses.replace(CONFIG, dropout_rate=0.1)
    programs = {
        "unrolled": own_step(dataclasses.replace(config, unroll_layers=True), _DRAWN_ROWS),
        "scanned": own_step(config, _DRAWN_ROWS),
    }
    if theirs := t5x_step(config, _DRAWN_ROWS):
        programs["t5x"] = theirs
    timings = Timings(programs, options.rounds)
    figures: dict[str, Any] = {
        f"{prefix}step_time_over_t5x{suffix}": ratio(name, "t5x") if theirs else None
        for prefix, name in (("", "unrolled"), ("scanned_", "scanned"))
        for suffix, ratio in (("", timings.ratio), ("_processor", timings.processor_ratio))
    }
    figures["seconds"] = {name: timings.seconds(name) for name in programs}
    figures |= packed_figures(options.rows, options.rounds)
    print(json.dumps(rounded(figures)))


def packed_figures(rows: int, rounds: int) -> dict[str, Any]:
    """Examples a second of packed rows over those of the others."""
    ratios = ("unpacked", "t5x_unpacked", "t5x_packed")
    figures: dict[str, Any] = {f"packed_examples_over_{name}": None for name in ratios}
    shared = shared_folder()
    if not (shared / "amazon").exists():
        return figures
    from accelerator_batches import batches_of

    from recalign.data.from_files import prepare_from_files

    with tempfile.TemporaryDirectory() as directory:
        prepare_from_files(
            "toys",
            data_dir=directory,
            format="sequences",
            interactions=shared / "amazon" / "toys.sequences.tsv.gz",
            items=shared / "amazon" / "toys.items.tsv.gz",
            sentencepiece_model=shared / "t5_vocab" / "sentencepiece.model",
        )
        arrays = batches_of("ut_at_toys", directory)
    batches = {
        kind: {
            name.removeprefix(f"{kind}/"): array[:rows]
            for name, array in arrays.items()
            if name.startswith(f"{kind}/")
        }
        for kind in ("packed", "one")
    }
    examples = {"packed": int(batches["packed"]["inputs_segment_ids"].max(axis=1).sum())}
    examples["unpacked"] = rows
    programs: dict[str, Callable[[], Any]] = {
        "packed": own_step(_TINY, batches["packed"]),
        "unpacked": own_step(_TINY, batches["one"]),
    }
    if theirs := t5x_step(_TINY, batches["packed"]):
        programs |= {"t5x_packed": theirs, "t5x_unpacked": t5x_step(_TINY, batches["one"])}
    timings = Timings(programs, rounds)
    for name in programs.keys() - {"packed"}:
        more = examples["packed"] / examples[name.removeprefix("t5x_")]
        for ending, ratio in (("", timings.ratio), ("_processor", timings.processor_ratio)):
            figures[f"packed_examples_over_{name}{ending}"] = more * ratio(name, "packed")
    figures["packed_examples_a_row"] = len(arrays["one/inputs"]) / len(arrays["packed/inputs"])
    figures["tiny_seconds"] = {name: timings.seconds(name) for name in programs}
    return figures


def own_step(config: T5Config, rows: Rows) -> Callable[[], Any]:
    """Each call is a step; it goes on from the state that the last one left."""
    mesh = partitioning.make_mesh()
    optimizer = make_optimizer(learning_rate=0.001, warmup_steps=1000, first_step=0)
    step = train_step_of(config, optimizer, mesh)
    batch = partitioning.shard_local(mesh, rows)
    state = new_state(seeded_params(config), optimizer, 0, mesh)

    def run() -> Any:
        nonlocal state
        state, outcome = step(state, batch)
        return state, outcome

    return run


def t5x_step(config: T5Config, rows: Rows) -> Callable[[], Any] | None:
    """The same by T5X's model, train state and trainer."""
    model = t5x_model(config)
    if model is None:
        return None
    from t5x import train_state, trainer

    targets = jnp.asarray(rows["targets"])
    batch = {
        "encoder_input_tokens": jnp.asarray(rows["inputs"]),
        "decoder_input_tokens": shift_right(targets, rows.get("targets_segment_ids")),
        "decoder_target_tokens": targets,
        "decoder_loss_weights": (targets > 0).astype(jnp.int32),
    }
    if "inputs_segment_ids" in rows:
        for side, name in (("encoder", "inputs"), ("decoder", "targets")):
            ids = jnp.asarray(rows[f"{name}_segment_ids"])
            batch[f"{side}_segment_ids"] = ids
            # T5X's network takes positions and does not look at them: T5's are distances.
            batch[f"{side}_positions"] = jnp.zeros_like(ids)
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
