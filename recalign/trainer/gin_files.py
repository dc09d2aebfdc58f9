"""Reads gin files so that every mistake ends in one line naming the file, the line and the binding.

The files are walked once before gin parses them. The walk finds what gin would report late, badly
or not at all: a missing include, a module that cannot be imported, a macro that nothing reads.
"""

import contextlib
import difflib
import importlib
import importlib.util
import logging
import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import gin
from etils import epath

from recalign import internals
from recalign.errors import UserError
from recalign.trainer import gin_text
from recalign.trainer.gin_text import Binding, Import, Macro

# gin looks up `importlib.util` as an attribute of `importlib` when an include is missing, and
# fails with an AttributeError where nobody imported it.
assert importlib.util

_COMMAND_LINE = "the command line"


@dataclass
class Provenance:
    """Where each binding was given last, the latest last, and which macros anything reads."""

    locations: dict[str, str] = field(default_factory=dict)  # "TRAIN_STEPS" -> "gin/x.gin:12"
    macros: dict[str, str] = field(default_factory=dict)
    referenced: dict[str, str] = field(default_factory=dict)  # macro -> where it is read

    def latest(self, *names: str) -> tuple[str, str]:
        """Which of these names was bound last, and where."""
        for name in reversed(self.locations):
            if name in names:
                return name, self.locations[name]
        return names[0], "the experiment"


def parse(
    gin_files: Sequence[str],
    gin_bindings: Sequence[str],
    *,
    search_paths: Sequence[str],
    skip_unknown: Collection[str],
    unread_macros: Collection[str],
    source: str = _COMMAND_LINE,
) -> Provenance:
    """Replaces gin's configuration by that of these files, a later one wins, and bindings.

    Args:
      gin_files, gin_bindings, search_paths, source: as `load_experiment` has them.
      skip_unknown: names of another engine's configurables, whose bindings are left out. Imports
        of their modules are left out too.
      unread_macros: macros of another engine that may stand unread; any other is a misspelling.
    """
    provenance = Provenance()
    walk = _Walk(search_paths, skip_unknown, provenance)
    with gin.unlock_config():  # modules that are imported may add to what can be configured
        for name in gin_files:
            walk.file(name)
        for binding in gin_bindings:
            walk.text(binding, source, is_file=False)
    for macro, location in provenance.referenced.items():
        if macro not in provenance.macros and macro != "gin.REQUIRED":
            raise UserError(f"{location}: reads {macro}, which is set nowhere")
    with _gin_looking_in(search_paths), _one_line_errors():
        gin.clear_config()
        gin.parse_config_files_and_bindings(
            list(gin_files),
            list(gin_bindings),
            skip_unknown=list(skip_unknown),
            finalize_config=False,
        )
        for name in unread_macros:  # They may refer to the other engine's configurables.
            internals.remove_macro(name)
        gin.finalize()
    _refuse_unread(provenance, unread_macros)
    return provenance


def _refuse_unread(provenance: Provenance, unread_macros: Collection[str]) -> None:
    for name, location in provenance.macros.items():
        if name in provenance.referenced or name in unread_macros:
            continue
        near = difflib.get_close_matches(name, list(provenance.referenced), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"{location}: nothing reads {name}{hint}")


@dataclass(frozen=True)
class _Walk:
    """Reads files and bindings as gin would, and notes in `provenance` where each stands."""

    search_paths: Sequence[str]
    skip_unknown: Collection[str]
    provenance: Provenance

    def file(self, name: str, included_at: str | None = None) -> None:
        for folder in [""] if os.path.isabs(name) or "://" in name else self.search_paths:
            path = epath.Path(os.path.join(folder, name))
            if path.is_file():
                self.text(path.read_text(), name)
                return
        where = f"{included_at}: " if included_at else ""
        looked = ", ".join(folder or "the working directory" for folder in self.search_paths)
        raise UserError(f"{where}no gin file {name!r}; looked in {looked}")

    def text(self, text: str, name: str, is_file: bool = True) -> None:
        def at(line_number: int) -> str:
            return f"{name}:{line_number}" if is_file else name

        try:
            for statement in gin_text.parsed(text):
                location = at(statement.line)
                match statement:
                    case Import(_, file, line) if line.startswith("include "):
                        self.file(file, location)
                    case Import():
                        _check_import(statement, location, self.skip_unknown)
                    case Binding():
                        self._record(statement, location)
        except SyntaxError as error:
            said = (error.msg or "").strip().splitlines()[0]
            if said.startswith("malformed node"):
                said = "a string needs quotes"
            line = (error.text or "").strip()
            raise UserError(f"{at(error.lineno or 1)}: {line or text.strip()}: {said}") from error

    def _record(self, binding: Binding, location: str) -> None:
        name, seen = binding.selector, self.provenance
        if binding.argument:
            name = f"{name}.{binding.argument}"
        else:
            seen.macros[name] = location
        for macro in gin_text.names_in(binding.value, Macro):
            seen.referenced.setdefault(macro, location)
        seen.locations.pop(name, None)
        seen.locations[name] = location


def _check_import(statement: Import, location: str, skip_unknown: Collection[str]) -> None:
    """With a list of unknown names gin leaves out every import that fails, misspelt ones too."""
    left_out = ("__gin__", "__main__", *skip_unknown)
    if any(f"{statement.module}.".startswith(f"{name}.") for name in left_out):
        return
    try:
        importlib.import_module(statement.module)
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and _is_attribute(statement):
            return
        raise UserError(f"{location}: cannot import {statement.module}: {error}") from error


def _is_attribute(statement: Import) -> bool:
    """`from package import function`, where the last part is no module of its own."""
    package, _, name = statement.module.rpartition(".")
    if not (statement.text.startswith("from ") and package):
        return False
    try:
        return hasattr(importlib.import_module(package), name)
    except ImportError:
        return False


@contextlib.contextmanager
def _gin_looking_in(search_paths: Sequence[str]) -> Iterator[None]:
    """gin with these search paths and plain files only, quietly."""
    quiet = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with internals.files_of_gin(
            search_paths,
            lambda name: epath.Path(name).open("r"),
            lambda name: epath.Path(name).is_file(),
        ):
            yield
    finally:
        logging.disable(quiet)


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except (ValueError, TypeError, NameError, AttributeError, OSError) as error:
        raise UserError(_in_one_line(str(error))) from error


def _in_one_line(message: str) -> str:
    """gin's message and its innermost location, as 'FILE:LINE: message (the line)'."""
    said, *_ = message.split("\n")
    if required := re.match(r"(\S+?)(/macro\.value)? set to `%gin.REQUIRED`", said):
        name = required[1]
        return f"{name} is not set: set it in the experiment's file, or by --gin.{name}=…"
    if where := re.search(r'In file "(.+?)", line (\d+)\n\s*(.+)', message):
        return f"{where[1]}:{where[2]}: {said} ({where[3].strip()})"
    if where := re.search(r"In bindings string line \d+\n\s*(.+)", message):
        return f"{_COMMAND_LINE}: {said} ({where[1].strip()})"
    return said
