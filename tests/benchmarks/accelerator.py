"""Training and beam search on this machine's accelerator, in the shapes of T5 base and XL.

Needs JAX, Flax, Optax, jaxtyping and gin-config, but no TensorFlow: the batches, real prompts at
1,024 inputs and 128 targets, come along as a file that `accelerator_batches.py` made.

    PYTHONPATH=. python3 tests/benchmarks/accelerator.py batches.npz [--budget_seconds 300]

Prints a JSON line for each measurement as it goes: a run that was cut off still left figures. What
the budget has no time for is named as `skipped`. bfloat16, with parameters in float32:

- `train`: a step of the project's own trainer (Adafactor, dropout 0.1), packed rows and rows of one
  example, with the own attention and with `jax.nn.dot_product_attention`'s (`attention`; the faster
  is taken for what follows). `examples_per_second`, `tokens_per_second` (without padding), `mfu`:
  the arithmetic of all places of a row, padding too, over the chip's peak, recomputation left out;
  `mfu_of_tokens`: that of real tokens that see their own example alone. `program_bytes`: what the
  compiled step holds at its peak.
- `decode`: beam search, 20 beams of 8 tokens, free and among 12,000 IDs, and the same weights by
  Hugging Face's `generate` where torch and transformers are there (`same_best`: the share of
  examples with the same best beam; bfloat16 rounds differently in the two).
"""

import argparse
import dataclasses
import functools
import json
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

# torch needs room on the same device; memory is counted by what programs hold.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp
import numpy as np

from recalign.model.decode import Beams, beam_decode
from recalign.model.t5.config import T5Config
from recalign.model.trie import Trie
from recalign.trainer import partitioning
from recalign.trainer.state import new_state
from tests.optimizers import make_optimizer, train_step_of
from tests.t5x_names import to_t5x

TOKENS = ("inputs", "targets")
BEAMS, NEW_TOKENS, CATALOGUE = 20, 8, 12_000
# Dense bfloat16, by the vendors' data sheets; see `peak_flops`.
PEAK_FLOPS = {
    "H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "L40": 181e12, "L4": 121e12,
    "v4": 275e12, "v5 lite": 197e12, "v5e": 197e12, "v5p": 459e12, "v5": 459e12, "v6": 918e12,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Size:
    """A model and the work it is given.

    Attributes:
      config: with dropout; in bfloat16.
      rows: of a training step, packed or not.
      decoded: examples of a beam search.
      seconds: what a section of this size may take, compilation included, before it is skipped.
    """

    config: T5Config
    rows: int
    decoded: int
    seconds: float


_BASE = T5Config(
    emb_dim=768, num_heads=12, num_encoder_layers=12, num_decoder_layers=12, mlp_dim=2048,
    dtype="bfloat16",
)  # fmt: skip
_XL = T5Config(
    emb_dim=2048, num_heads=32, num_encoder_layers=24, num_decoder_layers=24, mlp_dim=5120,
    dtype="bfloat16", remat="dots_with_no_batch_dims_saveable",
)  # fmt: skip
_TINY = T5Config(
    emb_dim=32, num_heads=2, num_encoder_layers=1, num_decoder_layers=1, head_dim=16, mlp_dim=64,
)  # fmt: skip
SIZES = {
    "base": Size(_BASE, rows=32, decoded=32, seconds=25),
    "xl": Size(_XL, rows=8, decoded=16, seconds=50),
    # For the tests: float32, so that Hugging Face finds the same beams.
    "tiny": Size(_TINY, rows=2, decoded=2, seconds=10),
}


def main() -> None:
    """All sections, the most telling first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("batches", type=pathlib.Path)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["base", "xl"])
    parser.add_argument(
        "--sections", nargs="+", choices=("train", "decode"), default=["train", "decode"]
    )
    parser.add_argument("--budget_seconds", type=float, default=300)
    parser.add_argument("--measured_seconds", type=float, default=4, help="of each measurement")
    options = parser.parse_args()
    budget = Budget(options.budget_seconds)
    file = dict(np.load(options.batches))
    device = jax.devices()[0]
    peak = peak_flops(device.device_kind)
    line(
        "device", kind=device.device_kind, platform=device.platform, jax=jax.__version__,
        peak_flops=peak, mixture=str(file["mixture"]),
        examples_per_packed_row=len(file["one/inputs"]) / len(file["packed/inputs"]),
    )  # fmt: skip
    # Both kinds of attention on the first size; the faster is taken from there on.
    kinds: list[str | None] = [None, "cudnn" if device.platform == "gpu" else "xla"]
    for name in options.sizes:
        size = SIZES[name]

        def rate(rows: str, attention: str | None, size: Size = size, name: str = name) -> float:
            config = dataclasses.replace(size.config, attention=attention)
            section = functools.partial(
                train_section, name, dataclasses.replace(size, config=config), rows,
                batch_of(file, rows), peak, options.measured_seconds,
            )  # fmt: skip
            named = {"size": name, "rows": rows, "attention": attention}
            return budget.run(size.seconds, section, "train", **named) or 0.0

        if "train" in options.sections:
            rates = {attention: rate("packed", attention) for attention in kinds}
            kinds = [max(rates, key=rates.__getitem__)]
            rate("one", kinds[0])
        section = functools.partial(
            decode_section, name, size.config, file["prompts"][: size.decoded].astype(np.int32),
            budget, options.measured_seconds, with_hugging_face=name != "xl",
        )  # fmt: skip
        if "decode" in options.sections:
            budget.run(size.seconds, section, "decode", size=name)


def peak_flops(device_kind: str) -> float | None:
    """By the first key that the device's name holds: a longer name comes before its beginning."""
    return next((peak for key, peak in PEAK_FLOPS.items() if key in device_kind), None)


def line(what: str, **figures: Any) -> None:
    """Prints a measurement at once, with four significant digits."""
    rounded = {
        name: float(f"{value:.4g}") if isinstance(value, float) else value
        for name, value in figures.items()
    }
    print(json.dumps({"what": what, **rounded}), flush=True)


class Budget:
    """The seconds that are left, and sections that do not start without enough of them."""

    def __init__(self, seconds: float):
        self._end = time.monotonic() + seconds

    def run(self, seconds: float, section: Callable[[], Any], what: str, **named: Any) -> Any:
        """What the section returns; None where it was skipped or failed, which is printed."""
        left = self._end - time.monotonic()
        if left < seconds:
            line("skipped", section=what, seconds_left=left, **named)
            return None
        try:
            return section()
        except Exception as error:  # Out of memory, or a kernel that this device does not have.
            message = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            line("failed", section=what, error=message, **named)
            return None


def batch_of(file: Mapping[str, np.ndarray], rows: str) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(f"{rows}/"): array.astype(np.int32)
        for name, array in file.items()
        if name.startswith(f"{rows}/")
    }


def timed(run: Callable[[], Any], seconds: float) -> tuple[float, int]:
    """Seconds a call, over calls that take so long; the device works through them unwatched."""
    jax.block_until_ready(run())
    start = time.perf_counter()
    jax.block_until_ready(run())
    count = max(1, min(200, int(seconds / (time.perf_counter() - start))))
    start = time.perf_counter()
    for _ in range(count):
        outcome = run()
    jax.block_until_ready(outcome)
    return (time.perf_counter() - start) / count, count


def train_section(
    name: str, size: Size, rows: str, all_rows: dict[str, np.ndarray], peak: float | None,
    seconds: float,
) -> float:  # fmt: skip
    """One line for a step of this size; returns examples a second."""
    mesh = partitioning.make_mesh(devices=jax.devices()[:1])
    optimizer = make_optimizer(learning_rate=0.001, warmup_steps=1000, first_step=0)
    step = train_step_of(size.config, optimizer, mesh)
    state = new_state(params_of(size.config), optimizer, 0, mesh)
    used = len(all_rows["inputs"]) // size.rows * size.rows
    batches = [
        partitioning.shard_local(
            mesh, {key: value[at : at + size.rows] for key, value in all_rows.items()}
        )
        for at in range(0, used, size.rows)
    ]
    start = time.perf_counter()
    compiled = step.lower(state, batches[0]).compile()
    compile_seconds = time.perf_counter() - start
    at: Iterator[int] = iter(range(10**9))

    def run() -> Any:
        nonlocal state
        state, outcome = compiled(state, batches[next(at) % len(batches)])
        return outcome

    each, steps = timed(run, seconds)
    loss = float(run().parts.loss)
    everything = {key: value[:used] for key, value in all_rows.items()}
    examples = example_lengths(everything)
    per_step = size.rows / used
    places = example_lengths({key: np.ones_like(everything[key]) for key in TOKENS})
    flops = {key: 3 * forward_flops(size.config, what) * per_step for key, what in
             (("mfu", places), ("mfu_of_tokens", examples))}  # fmt: skip
    line(
        "train", size=name, rows=rows, attention=size.config.attention, rows_a_step=size.rows,
        examples_a_step=len(examples) * per_step, seconds=each, steps_timed=steps,
        examples_per_second=len(examples) * per_step / each,
        tokens_per_second=float(examples.sum()) * per_step / each,
        **{key: count / each / peak if peak else None for key, count in flops.items()},
        teraflops={key: float(f"{count / each / 1e12:.4g}") for key, count in flops.items()},
        **memory(compiled), compile_seconds=compile_seconds, loss_is_finite=bool(np.isfinite(loss)),
    )  # fmt: skip
    return len(examples) * per_step / each


def params_of(config: T5Config) -> Any:
    return jax.jit(lambda: config.init(jax.random.key(0)))()


def memory(compiled: Any) -> dict[str, int | None]:
    """Bytes that the program holds at its peak, by the compiler, and all programs so far."""
    analysis = compiled.memory_analysis()
    held = ("argument_size_in_bytes", "output_size_in_bytes", "temp_size_in_bytes")
    statistics = jax.devices()[0].memory_stats() or {}
    return {
        "program_bytes": sum(getattr(analysis, name) for name in held)
        - analysis.alias_size_in_bytes,
        "peak_bytes_so_far": statistics.get("peak_bytes_in_use"),
    }


def example_lengths(rows: Mapping[str, np.ndarray]) -> np.ndarray:
    """int64 [examples, 2]: inputs and targets of each example, of packed rows or of plain ones."""
    lengths = []
    for key in TOKENS:
        ids = rows.get(f"{key}_segment_ids")
        if ids is None:
            lengths.append(np.count_nonzero(rows[key], axis=1))
            continue
        most = int(rows["inputs_segment_ids"].max())
        counts = [np.count_nonzero(ids == segment, axis=1) for segment in range(1, most + 1)]
        lengths.append(np.stack(counts, axis=1).ravel())
    both = np.stack(lengths, axis=1)
    return both[both[:, 0] > 0]


def forward_flops(config: T5Config, lengths_Nx2: np.ndarray) -> float:
    """Multiplications and additions of the matrix products for examples of these lengths."""
    D, F, V = config.emb_dim, config.mlp_dim, config.vocab_size
    E = config.num_heads * config.head_dim
    inputs_N, targets_N = lengths_Nx2.T.astype(np.float64)
    encoder_layer = inputs_N * (8 * D * E + 6 * D * F) + 4 * E * inputs_N**2
    decoder_layer = targets_N * (12 * D * E + 6 * D * F) + 4 * E * targets_N**2
    decoder_layer += inputs_N * 4 * D * E + 4 * E * inputs_N * targets_N
    layers = config.num_encoder_layers * encoder_layer + config.num_decoder_layers * decoder_layer
    return float((layers + 2 * D * V * targets_N).sum())


def decode_section(
    name: str, config: T5Config, prompts_BxL: np.ndarray, budget: Budget, seconds: float,
    *, with_hugging_face: bool,
) -> None:  # fmt: skip
    """A line for each way to search."""
    params, ids = params_of(config), made_up_ids()
    trie = Trie.from_sequences(ids)
    inputs = jnp.asarray(prompts_BxL)
    beams: dict[str, Beams] = {}
    rates: dict[str, float] = {}
    for kind, tree in (("free", None), ("constrained", trie)):
        start = time.perf_counter()
        search = jax.jit(
            functools.partial(
                beam_decode, network=config, beam_size=BEAMS, max_decode_len=NEW_TOKENS, alpha=0.0
            )
        )
        compiled = search.lower(params, encoder_input_tokens_BxL=inputs, trie=tree).compile()
        compile_seconds = time.perf_counter() - start

        def run(compiled: Any = compiled, tree: Any = tree) -> Beams:
            return compiled(params, encoder_input_tokens_BxL=inputs, trie=tree)

        each, _ = timed(run, seconds)
        beams[kind], rates[kind] = run(), len(prompts_BxL) / each
        line(
            "decode", size=name, search=kind, engine="recalign", examples=len(prompts_BxL),
            inputs=prompts_BxL.shape[1], beams=BEAMS, seconds=each, examples_per_second=rates[kind],
            compile_seconds=compile_seconds, **memory(compiled),
        )  # fmt: skip
    if with_hugging_face:
        section = functools.partial(
            hugging_face_section, name, config, params, prompts_BxL, ids, beams, rates, seconds
        )
        budget.run(SIZES[name].seconds, section, "hugging_face", size=name)


def made_up_ids() -> list[list[int]]:
    """A letter, then the number of the item in base 326: 2 or 3 tokens an ID."""
    return [
        [28, *(1000 + digit for digit in ([high] if high else [])), 1400 + low]
        for high, low in (divmod(number, 326) for number in range(CATALOGUE))
    ]


def hugging_face_section(
    name: str, config: T5Config, params: Any, prompts_BxL: np.ndarray, ids: list[list[int]],
    beams: Mapping[str, Beams], rates: Mapping[str, float], seconds: float,
) -> None:  # fmt: skip
    """The same searches by `transformers`, free and restricted by a function of the prefix."""
    import torch

    model = hugging_face_model(config, params)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device).eval()
    inputs = torch.tensor(prompts_BxL, dtype=torch.long, device=device)
    following: dict[tuple[int, ...], list[int]] = {}
    for sequence in ids:
        for end, token in enumerate([*sequence, 1]):
            options = following.setdefault(tuple(sequence[:end]), [])
            if token not in options[-1:]:
                options.append(token)

    def allowed(_: int, tokens: Any) -> list[int]:
        return following.get(tuple(tokens.tolist()[1:]), [0])

    for kind, restriction in (("free", None), ("constrained", allowed)):

        def run(restriction: Any = restriction) -> Any:
            with torch.inference_mode():
                found = model.generate(
                    input_ids=inputs, attention_mask=inputs != 0, num_beams=BEAMS,
                    num_return_sequences=BEAMS, max_new_tokens=NEW_TOKENS, do_sample=False,
                    length_penalty=0.0, early_stopping=False, prefix_allowed_tokens_fn=restriction,
                    pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
                )  # fmt: skip
            return found.cpu()

        run()
        start, count = time.perf_counter(), 0
        while count < 1 or time.perf_counter() - start < seconds:
            found, count = run(), count + 1
        each = (time.perf_counter() - start) / count
        theirs_BxT = found.reshape(len(prompts_BxL), BEAMS, -1)[:, 0, 1:].numpy()
        ours_BxT = np.asarray(beams[kind].tokens_BxKxT)[:, -1, : theirs_BxT.shape[1]]
        line(
            "decode", size=name, search=kind, engine="hugging_face", examples=len(prompts_BxL),
            seconds=each, examples_per_second=len(prompts_BxL) / each,
            recalign_over_hugging_face=rates[kind] * each / len(prompts_BxL),
            same_best=float((theirs_BxT == ours_BxT).all(axis=1).mean()), torch=torch.__version__,
        )  # fmt: skip


def hugging_face_model(config: T5Config, params: Any) -> Any:
    """A `transformers` model of the same weights, in the activations' type."""
    import torch
    import transformers

    from recalign.weights import hugging_face
    from recalign.weights.tensors import Weights, flatten, from_array

    named = flatten(to_t5x(jax.device_get(params)), lambda leaf: False)
    weights = Weights("params", {key: from_array(leaf) for key, leaf in named.items()}, {}, None)
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        hugging_face.write(weights, config, folder, lambda size: None)
        return transformers.T5ForConditionalGeneration.from_pretrained(
            folder, dtype=getattr(torch, config.dtype)
        )


if __name__ == "__main__":
    main()
