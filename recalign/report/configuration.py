"""What a run's config.gin says: the seed, the settings, the whole text; and the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from gin import config_parser

# Where a run wrote to and read from, and its seed, do not make it another experiment.
_NOT_THE_EXPERIMENT = ("MODEL_DIR", "DATA_DIR", "RANDOM_SEED")
_NAMES = {"small": "Small", "base": "Base", "large": "Large", "xl": "XL", "xxl": "XXL"}


@dataclasses.dataclass(frozen=True)
class Model:
    """A T5 network and where its weights came from, as results.json has it."""

    size: str = ""  # "small" to "xxl" where the network is T5 1.1's of that size
    parameters: int | None = None  # how many; None where it is not said
    pretrained: bool = False  # whether fine-tuning began from a checkpoint

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
            counted = f" ({_count(self.parameters)} parameters)" if self.parameters else ""
            return f"{self.short}{counted}"
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
        shared = self.settings.keys() - set(_NOT_THE_EXPERIMENT)
        return tuple((name, repr(self.settings[name])) for name in sorted(shared))


def read_configuration(text: str, model: Mapping[str, Any] | None = None) -> Configuration:
    """Reads a configuration as gin writes it; `model` is as results.json has it.

    >>> read_configuration("BATCH_SIZE = 64\\nSTEP = %BATCH_SIZE\\n").settings["STEP"]
    64
    """
    known = {f.name: (model or {}).get(f.name, f.default) for f in dataclasses.fields(Model)}
    return Configuration(text, _settings(text), Model(**known))


class _Macro(str):
    """The name of a macro, where another one stands for it."""


class _AsWritten(config_parser.ParserDelegate):
    """Keeps what refers to something else as it is written."""

    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> str:
        return f"@{scoped_configurable_name}{'()' if evaluate else ''}"

    def macro(self, macro_name: str) -> _Macro:
        return _Macro(macro_name)


def _settings(text: str) -> dict[str, Any]:
    """The macros of a file, by gin's own parser; none where gin cannot read it."""
    try:
        statements = list(config_parser.ConfigParser(text, _AsWritten()))
    except SyntaxError:
        return {}
    bindings = (s for s in statements if isinstance(s, config_parser.BindingStatement))
    macros = {it.selector: it.value for it in bindings if not it.arg_name}

    def resolved(value: Any, seen: frozenset[str]) -> Any:
        if not isinstance(value, _Macro) or value not in macros or value in seen:
            return value
        return resolved(macros[value], seen | {value})

    return {name: resolved(value, frozenset({name})) for name, value in macros.items()}


def _count(parameters: int) -> str:
    """
    >>> _count(2_849_757_184), _count(247_577_856), _count(318_000)
    ('2.8B', '248M', '0.3M')
    """
    if parameters >= 1e9:
        return f"{parameters / 1e9:.1f}B"
    return f"{parameters / 1e6:.0f}M" if parameters >= 1e7 else f"{parameters / 1e6:.1f}M"
