"""What a run's config.gin says: the model and where it began, the seed, and the whole text."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Mapping
from typing import Any

# A binding on one line; its value may go on below, in indented lines.
_BINDING = re.compile(r"^([\w./]+) = ?(.*(?:\n[ \t]+.*)*)", re.MULTILINE)
# Where a run wrote to and read from, and its seed, do not make it another experiment.
_NOT_THE_EXPERIMENT = ("MODEL_DIR", "DATA_DIR", "RANDOM_SEED")
# (embedding, heads, layers of a stack, feed-forward): T5 1.1's sizes.
_T5_SIZES = {
    (512, 6, 8, 1024): "small",
    (768, 12, 12, 2048): "base",
    (1024, 16, 24, 2816): "large",
    (2048, 32, 24, 5120): "xl",
    (4096, 64, 24, 10240): "xxl",
}
_NAMES = {"small": "Small", "base": "Base", "large": "Large", "xl": "XL", "xxl": "XXL"}


@dataclasses.dataclass(frozen=True)
class Model:
    """A T5 network and where its weights came from.

    Attributes:
      size: "small" to "xxl" where the network is T5 1.1's of that size, else "".
      parameters: how many; None where config.gin does not say enough.
      pretrained: whether fine-tuning began from a checkpoint.
    """

    size: str
    parameters: int | None
    pretrained: bool

    @property
    def short(self) -> str:
        """As tables name it: FLAN-T5-XL, or 0.3M."""
        if self.size and self.pretrained:
            return f"FLAN-T5-{_NAMES[self.size]}"
        return "unknown size" if self.parameters is None else _count(self.parameters)

    @property
    def label(self) -> str:
        """In words: FLAN-T5-XL (2.8B parameters), or 0.3M parameters from random weights."""
        if self.size and self.pretrained:
            return self.short + (
                f" ({_count(self.parameters)} parameters)" if self.parameters else ""
            )
        start = "a checkpoint" if self.pretrained else "random weights"
        return f"{self.short}{' parameters' if self.parameters else ''} from {start}"


@dataclasses.dataclass(frozen=True)
class Configuration:
    """config.gin, read: `settings` holds its macros, those that are other macros resolved."""

    text: str
    settings: Mapping[str, Any]
    model: Model

    @property
    def seed(self) -> int | None:
        """Of all that training draws."""
        return self.settings.get("RANDOM_SEED")

    @property
    def data_dir(self) -> str | None:
        """Where the run's prepared dataset was."""
        return self.settings.get("DATA_DIR")

    @property
    def first_step(self) -> int:
        """The step of the weights that fine-tuning began from."""
        step = self.settings.get("INITIAL_STEP", self.settings.get("PRETRAINED_STEP"))
        return step if isinstance(step, int) else 0

    def without_seed(self) -> tuple[tuple[str, str], ...]:
        """What two runs share that differ in their seed alone."""
        return tuple(
            sorted((n, repr(v)) for n, v in self.settings.items() if n not in _NOT_THE_EXPERIMENT)
        )


def read_configuration(text: str) -> Configuration:
    """Reads an operative configuration as gin writes it; what is no literal stays text.

    >>> read_configuration("BATCH_SIZE = 64\\nSTEP = %BATCH_SIZE\\n").settings["STEP"]
    64
    """
    bindings = {name: _value(value) for name, value in _BINDING.findall(text)}
    settings = {name: _resolved(name, bindings) for name in bindings if name.isupper()}
    return Configuration(text, settings, _model(bindings))


def _value(text: str) -> Any:
    # A long value stands below its name, after a backslash.
    text = text.strip().removeprefix("\\").strip()
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _resolved(name: str, bindings: Mapping[str, Any]) -> Any:
    value, seen = bindings[name], {name}
    while isinstance(value, str) and value.startswith("%") and value[1:] in bindings:
        if value[1:] in seen:
            break
        seen.add(value[1:])
        value = bindings[value[1:]]
    return value


def _resolved_or_none(name: str, bindings: Mapping[str, Any]) -> Any:
    return _resolved(name, bindings) if name in bindings else None


def _model(bindings: Mapping[str, Any]) -> Model:
    def size_of(field: str) -> int | None:
        macro = field.upper()
        names = [macro] if macro in bindings else []
        names += [name for name in bindings if name.endswith(f"T5Config.{field}")]
        value = _resolved(names[0], bindings) if names else None
        return value if isinstance(value, int) else None

    width, heads, mlp = size_of("emb_dim"), size_of("num_heads"), size_of("mlp_dim")
    encoder, decoder = size_of("num_encoder_layers"), size_of("num_decoder_layers")
    head_dim, vocabulary = size_of("head_dim"), size_of("vocab_size")
    start = _resolved_or_none("INITIAL_CHECKPOINT_PATH", bindings)
    known = (width, heads, mlp, encoder, decoder, head_dim, vocabulary)
    parameters = None
    if None not in known:
        parameters = _parameters(*known)  # type: ignore[arg-type]
        if _resolved_or_none("LOGITS_VIA_EMBEDDING", bindings) is True:
            parameters -= vocabulary * width  # type: ignore[operator]
    size = _T5_SIZES.get((width, heads, encoder, mlp), "")  # type: ignore[arg-type]
    return Model(size if encoder == decoder else "", parameters, bool(start))


def _parameters(
    width: int, heads: int, mlp: int, encoder: int, decoder: int, head_dim: int, vocabulary: int
) -> int:
    """Of T5 1.1: two embeddings, gated feed-forward, a table of 32 relative positions a stack."""
    attention, feed_forward = 4 * width * heads * head_dim, 3 * width * mlp
    return (
        2 * vocabulary * width
        + encoder * (attention + feed_forward + 2 * width)
        + decoder * (2 * attention + feed_forward + 3 * width)
        + 2 * (32 * heads + width)
    )


def _count(parameters: int) -> str:
    """
    >>> _count(2_849_757_184), _count(247_577_856), _count(318_000)
    ('2.8B', '248M', '0.3M')
    """
    if parameters >= 1e9:
        return f"{parameters / 1e9:.1f}B"
    return f"{parameters / 1e6:.0f}M" if parameters >= 1e7 else f"{parameters / 1e6:.1f}M"
