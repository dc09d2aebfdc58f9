"""What the benchmarks share: one model's sizes, its weights, and programs timed side by side."""

import gc
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recalign.model.t5.config import T5Config
from recalign.model.t5.transformer import Transformer

VOCABULARY = 32_128
BATCH, INPUTS, TARGETS = 8, 512, 8
# Width 256 with T5 1.1 small's proportions: heads of 64, a feed-forward block twice as wide.
CONFIG = T5Config(
    vocab_size=VOCABULARY,
    emb_dim=256,
    num_heads=4,
    num_encoder_layers=4,
    num_decoder_layers=4,
    head_dim=64,
    mlp_dim=512,
    dropout_rate=0.0,
)


def seeded_params(config: T5Config, seed: int = 0) -> Any:
    """Start weights, as T5X draws them."""
    tokens_1x1 = jnp.ones((1, 1), jnp.int32)
    model = Transformer(config)
    return jax.jit(lambda: model.init(jax.random.key(seed), tokens_1x1, tokens_1x1)["params"])()


def drawn_tokens(rows: int, width: int, seed: int) -> np.ndarray:
    """Random tokens without padding."""
    return np.random.default_rng(seed).integers(2, VOCABULARY - 100, (rows, width), np.int32)


def t5x_model(config: T5Config) -> Any | None:
    """T5X's encoder-decoder model of these sizes; None where T5X cannot be imported."""
    try:
        import seqio
        from t5x import adafactor, models
        from t5x.examples.t5 import network
    except ImportError:
        return None
    sizes = ("vocab_size", "emb_dim", "num_heads", "num_encoder_layers", "num_decoder_layers")
    sizes += ("head_dim", "mlp_dim", "dropout_rate")
    module = network.Transformer(
        network.T5Config(
            **{name: getattr(config, name) for name in sizes},
            dtype=config.activation_dtype,
            mlp_activations=("gelu", "linear"),
        )
    )
    vocabulary = seqio.PassThroughVocabulary(config.vocab_size, eos_id=1)
    optimizer = adafactor.Adafactor(
        decay_rate=0.8,
        step_offset=0,
        logical_factor_rules=adafactor.standard_logical_factor_rules(),
    )
    return models.EncoderDecoderModel(module, vocabulary, vocabulary, optimizer, z_loss=1e-4)


def shared_folder() -> Path:
    """Where real data is, T5's vocabulary among it; as the tests find it."""
    here = Path(__file__).resolve()
    return Path(os.environ.get("RECALIGN_SHARED", here.parents[3] / "shared" / "data"))


class Timings:
    """Seconds of several programs, run in turn, so that a busy machine slows all of them alike."""

    def __init__(self, programs: Mapping[str, Callable[[], Any]], rounds: int):
        """Runs each program once to compile it, then `rounds` times in turn."""
        for run in programs.values():
            jax.block_until_ready(run())
        gc.collect()
        self._wall: dict[str, list[float]] = {name: [] for name in programs}
        self._processor: dict[str, list[float]] = {name: [] for name in programs}
        for _ in range(rounds):
            for name, run in programs.items():
                wall, processor = time.perf_counter(), time.process_time()
                jax.block_until_ready(run())
                self._wall[name].append(time.perf_counter() - wall)
                self._processor[name].append(time.process_time() - processor)

    def seconds(self, name: str) -> float:
        """The median of the elapsed time."""
        return statistics.median(self._wall[name])

    def ratio(self, name: str, to: str) -> float:
        """How many times as long `name` took as `to`: the median over the rounds' ratios."""
        return _median_ratio(self._wall[name], self._wall[to])

    def processor_ratio(self, name: str, to: str) -> float:
        """The same of processor seconds, which other programs on the machine disturb less."""
        return _median_ratio(self._processor[name], self._processor[to])


def _median_ratio(above: list[float], below: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def rounded(figures: Any) -> Any:
    """Four significant digits: what a timing is good for."""
    if isinstance(figures, dict):
        return {name: rounded(value) for name, value in figures.items()}
    return float(f"{figures:.4g}") if isinstance(figures, float) else figures
