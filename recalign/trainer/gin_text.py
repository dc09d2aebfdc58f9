"""Gin's text as a list of statements: nothing is imported, looked up or called."""

import dataclasses
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gin import config_parser

from recalign.errors import UserError
from recalign.model import NETWORKS


@dataclasses.dataclass(frozen=True)
class Macro:
    """`%NAME` in a value."""

    name: str

    def __repr__(self) -> str:
        return f"%{self.name}"


@dataclasses.dataclass(frozen=True)
class Reference:
    """`@name` or `@name()` in a value: a function, or what it returns."""

    name: str
    called: bool

    def __repr__(self) -> str:
        return f"@{self.name}{'()' if self.called else ''}"


@dataclasses.dataclass(frozen=True)
class Binding:
    """`scope/module.name.argument = value`; of a macro, the name alone."""

    line: int
    scope: str
    selector: str
    argument: str
    value: Any

    @property
    def name(self) -> str:
        """The selector without its module."""
        return self.selector.rpartition(".")[2]

    def __str__(self) -> str:
        scope = f"{self.scope}/" if self.scope else ""
        argument = f".{self.argument}" if self.argument else ""
        return f"{scope}{self.selector}{argument} = {self.value!r}"


@dataclasses.dataclass(frozen=True)
class Import:
    """`import module`, or `from package import module`; `include 'file'` too."""

    line: int
    module: str
    text: str

    def __str__(self) -> str:
        return self.text


class _Quoting(config_parser.ParserDelegate):
    """Keeps macros and references as what they are written as."""

    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Reference:
        return Reference(scoped_configurable_name, evaluate)

    def macro(self, macro_name: str) -> Macro:
        return Macro(macro_name)


def statements(text: str, name: str) -> list[Binding | Import]:
    """The statements of a file's text; a UserError says what is wrong, with the line."""
    try:
        return list(parsed(text))
    except SyntaxError as error:
        said = (error.msg or "no gin").strip().splitlines()[0]
        raise UserError(f"{name}:{error.lineno or 1}: {said}") from error
    except (ValueError, TypeError, tokenize.TokenError, RecursionError, MemoryError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{name}: not gin: {first[:200]}") from error


def parsed(text: str) -> Iterator[Binding | Import]:
    """The statements, one after the other; the parser's own error where one is none."""
    for statement in config_parser.ConfigParser(text, _Quoting()):
        line = statement.location.line_num
        match statement:
            case config_parser.BindingStatement():
                scope, argument = statement.scope or "", statement.arg_name or ""
                yield Binding(line, scope, statement.selector, argument, statement.value)
            case config_parser.ImportStatement():
                yield Import(line, statement.module, statement.format())
            case config_parser.IncludeStatement():
                yield Import(line, statement.filename, f"include {statement.filename!r}")


def names_in(value: Any, kind: type[Macro] | type[Reference]) -> Iterator[str]:
    """The names of what a value refers to, macros or functions; none in a literal."""
    match value:
        case Macro(name) | Reference(name):
            if isinstance(value, kind):
                yield name
        case dict():
            for pair in value.items():
                yield from names_in(pair, kind)
        case list() | tuple():
            for part in value:
                yield from names_in(part, kind)


# The settings of a run that are recalign's own, by their last name, and what gin calls them.
SELECTORS = {
    "Experiment": "Experiment",
    **{network.__name__: network.__name__ for network in NETWORKS},
    "TaskSettings": "TaskSettings",
    "mixture_rates": "tasks.mixture_rates",
    "p5_templates": "recalign.p5_templates",
    "vocabulary": "tasks.vocabulary",
}
# Modules whose imports stand in shared files.
_IMPORTED_ANYWAY = ("__gin__", "__main__", "recalign", "tasks", "t5x")


def concerns_us(statement: Binding | Import) -> bool | None:
    """True for a setting of recalign's, False for one of the user's own code, None for neither."""
    if isinstance(statement, Import):
        return None if statement.module.split(".")[0] in _IMPORTED_ANYWAY else False
    if not statement.argument:
        return None
    is_files = statement.argument == "sentencepiece_model"
    if statement.name == "decode_lengths" or (statement.name == "vocabulary" and not is_files):
        return None  # of recalign.t5x.mixture, which T5X alone reads
    return statement.name in SELECTORS


def resolved(binding: Binding, macros: Mapping[str, Any], place: str) -> Binding:
    """The binding with the values of its macros; a UserError where one has none."""

    def of(value: Any, within: tuple[str, ...]) -> Any:
        match value:
            case Macro(name):
                if name in within:
                    raise UserError(f"{place}: {name} refers to itself")
                if name not in macros:
                    raise UserError(f"{place}: reads {name}, which is set nowhere")
                return of(macros[name], (*within, name))
            case dict():
                return {of(key, within): of(part, within) for key, part in value.items()}
            case list() | tuple():
                return type(value)(of(part, within) for part in value)
        return value

    return dataclasses.replace(binding, value=of(binding.value, ()))


def macros_of(found: Sequence[Binding | Import]) -> dict[str, Any]:
    """The macros among statements, by name; the last one wins."""
    return {it.name: it.value for it in found if isinstance(it, Binding) and not it.argument}


def of_users_code(text: str) -> tuple[str, ...]:
    """The imports and settings of the user's own code in a configuration, a line each."""
    found = statements(text, "gin's configuration")
    macros = macros_of(found)
    own = (it for it in found if concerns_us(it) is False)
    return tuple(
        it.text if isinstance(it, Import) else str(resolved(it, macros, "gin's configuration"))
        for it in own
    )
