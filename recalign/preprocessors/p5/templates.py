"""The wording of P5's templates as parts: words that stand between spaces, and fields."""

import dataclasses
import json
import string
from collections.abc import Mapping, Sequence
from typing import Any

import gin
from etils import epath

from recalign.errors import UserError
from recalign.p5_templates import EVALUATED, FIELD_NAMES, FIELDS, WORDING
from recalign.preprocessors.surroundings import entered

TEXTS = ("headline", "review", "feature", "explanation")
"""Fields that are tokenized when they are shown."""

LISTS = ("history", "candidates")
"""Fields with several items, with commas between them."""

_ALONE = ("item_title", *TEXTS)


@dataclasses.dataclass(frozen=True)
class Words:
    """Fixed words, with white space around."""

    text: str


@dataclasses.dataclass(frozen=True)
class Field:
    """What differs from sample to sample, with the punctuation that is glued to it.

    Attributes:
        name: a key of `FIELD_NAMES`.
        prefix: what stands before it without a space.
        suffix: what stands after it without a space; after a list's last item.
    """

    name: str
    prefix: str = ""
    suffix: str = ""


Part = Words | Field


@dataclasses.dataclass(frozen=True)
class Template:
    """One of P5's templates.

    Attributes:
        number: P5's, such as "2-7".
        inputs: what the model reads.
        targets: what it should write.
    """

    number: str
    inputs: tuple[Part, ...]
    targets: tuple[Part, ...]

    @property
    def fields(self) -> frozenset[str]:
        """The names of all its fields."""
        return frozenset(p.name for p in self.inputs + self.targets if isinstance(p, Field))

    def asks_for(self, field: str) -> bool:
        """Whether the targets show the field."""
        return any(isinstance(p, Field) and p.name == field for p in self.targets)

    def shows(self, field: str) -> bool:
        """Whether the inputs show the field."""
        return any(isinstance(p, Field) and p.name == field for p in self.inputs)


@gin.configurable(module="recalign")
def p5_templates(file: str | None = None) -> str | None:
    """The JSON file with the user's own words, if there is one."""
    return file


def templates_file() -> str | None:
    """The file of the experiment that this thread is in, else gin's."""
    surroundings = entered()
    return p5_templates() if surroundings is None else surroundings.templates_file


def all_templates(file: str | None) -> Mapping[str, Template]:
    """All templates by number, in the words of a JSON file where it has them, else in ours.

    Args:
        file: `{number: {"inputs": …, "targets": …}}`; local or `gs://`.

    Raises:
        UserError: what is wrong in the file, in one line.
    """
    own = {} if file is None else _read(file)
    source = str(file)
    return {
        number: template_of(number, *own[number], source)
        if number in own
        else template_of(number, *words, "recalign/p5_templates.py")
        for number, words in WORDING.items()
    }


def template_of(number: str, inputs: str, targets: str, source: str) -> Template:
    """Parses and checks the wording of a template.

    "After {history}, which next?" -> (Words("After"), Field("history", suffix=","),
    Words("which next?"))

    Args:
        number: P5's.
        inputs: words with fields in braces.
        targets: the same.
        source: where the words stand, for messages.

    Raises:
        UserError: unknown, missing or repeated fields, or fields glued to what they cannot be.
    """
    sides = []
    for side, text, fields in zip(
        ("inputs", "targets"), (inputs, targets), FIELDS[number], strict=True
    ):
        where = f"{source}: template {number}, {side}"
        parts = _parts(text, where)
        _check_fields([p.name for p in parts if isinstance(p, Field)], fields.split(), where)
        if side == "targets" and number in EVALUATED.values() and parts != (Field(fields),):
            raise UserError(f"{where}: the answer is evaluated, so it is {{{fields}}} alone")
        sides.append(parts)
    return Template(number, *sides)


def _parts(text: str, where: str) -> tuple[Part, ...]:
    """Splits a wording at its fields and spaces."""
    try:
        pieces = list(string.Formatter().parse(text))
    except ValueError as error:
        raise UserError(f"{where}: {error}: a brace of one's own is written twice") from error
    parts: list[Part] = []
    begun = ""  # A brace written twice ends a piece without a field.
    for piece, name, specification, conversion in [*pieces, ("", None, None, None)]:
        begun += piece
        if name is None and (piece or not begun):
            continue
        literal, begun = begun, ""
        words, prefix = _glued_before_field(literal, parts, where, name is not None)
        if words:
            parts.append(Words(words))
        if name is None:
            continue
        if name not in FIELD_NAMES or specification or conversion:
            raise UserError(
                f"{where}: {{{name}}} is no field; there are "
                + ", ".join(f"{{{field}}}" for field in FIELD_NAMES)
            )
        if prefix and (name in _ALONE or name in LISTS):
            raise UserError(f"{where}: {prefix!r} before {{{name}}} needs a space after it")
        parts.append(Field(name, prefix))
    return tuple(parts)


def _glued_before_field(
    literal: str, parts: list[Part], where: str, field_follows: bool
) -> tuple[str, str]:
    """The words of a literal and what is glued to the next field; the last field gets its suffix.

    After "{history}" the literal ", in " gives history the suffix "," and the words "in".
    """
    last = parts[-1] if parts else None
    if isinstance(last, Field):
        suffix = literal if not literal.strip() else literal[: _first_space(literal)]
        suffix = suffix.strip()
        if suffix and last.name in _ALONE:
            raise UserError(f"{where}: {suffix!r} after {{{last.name}}} needs a space before it")
        if field_follows and not any(c.isspace() for c in literal):
            raise UserError(f"{where}: a space is needed after {{{last.name}}}")
        parts[-1] = dataclasses.replace(last, suffix=suffix)
        literal = literal[_first_space(literal) :]
    prefix = ""
    if field_follows and literal and not literal[-1].isspace():
        words = literal.split()
        prefix = words[-1]
        return " ".join(words[:-1]), prefix
    return " ".join(literal.split()), prefix


def _first_space(text: str) -> int:
    return next((n for n, character in enumerate(text) if character.isspace()), len(text))


def _check_fields(found: Sequence[str], wanted: Sequence[str], where: str) -> None:
    shown = ", ".join(f"{{{field}}}" for field in wanted)
    for field in wanted:
        if field not in found:
            raise UserError(f"{where}: {{{field}}} is missing; it shows {shown}")
    for field in found:
        if field not in wanted:
            raise UserError(f"{where}: {{{field}}} is not one of its fields; it shows {shown}")
        if found.count(field) > 1:
            raise UserError(f"{where}: {{{field}}} stands twice")


def _read(file: str) -> Mapping[str, tuple[str, str]]:
    """The wordings of a JSON file."""
    try:
        content = epath.Path(file).read_text()
        wording = json.loads(content, object_pairs_hook=lambda pairs: _without_repeats(pairs, file))
    except (OSError, ValueError) as error:
        raise UserError(f"P5 templates {file}: {error}") from error
    if not isinstance(wording, dict):
        raise UserError(f'{file}: {{number: {{"inputs": …, "targets": …}}}} is needed')
    found = {}
    for number, sides in wording.items():
        if number not in FIELDS:
            raise UserError(f"{file}: there is no template {number}; P5 has {', '.join(_ranges())}")
        if (
            not isinstance(sides, dict)
            or set(sides) != {"inputs", "targets"}
            or not all(isinstance(words, str) for words in sides.values())
        ):
            raise UserError(
                f'{file}: template {number}: {{"inputs": "…", "targets": "…"}} is needed, both as '
                "strings and nothing else"
            )
        found[number] = (sides["inputs"], sides["targets"])
    return found


def _without_repeats(pairs: Sequence[tuple[str, Any]], file: str) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise UserError(f"{file}: {key!r} stands twice")
    return dict(pairs)


def _ranges() -> list[str]:
    """["1-1 to 1-10", …]"""
    last = {number.split("-")[0]: number for number in FIELDS}
    return [f"{family}-1 to {number}" for family, number in last.items()]
