"""P5's families: each train position draws one of their templates, a held-out split has one.

`p5_sequential` is evaluated by template 2-1 as retrieval (the paper's Table 1), `p5_2_7` by 2-7 and
`p5_direct` by 5-5 as ranking (Tables 2 and 8), `p5_rating` by 1-4, like or dislike (Table 3). An
epoch has a sample a window (sequential), a user with an item drawn anew (direct), an interaction
(rating) or a review (explanation, review). A log without ratings or texts loses the templates that
show them.
"""

import dataclasses
import functools
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import gin
from etils import epath

from recalign.errors import UserError
from recalign.preprocessors.surroundings import entered
from recalign.prompts import P5, P5_FIELDS
from recalign.wording import Field, Part, Prompt, Sentence, Template, check_glue

EVALUATED = ("1-4", "2-1", "2-7", "5-5")
"""The templates that are evaluated: their answers are a field alone."""

_ALONE = ("item_title", "headline", "review", "feature", "explanation")


@dataclasses.dataclass(frozen=True)
class Family:
    """The wording of a task that has several: P5's templates whose numbers begin with `number`.

    `evaluated` is the template that shows validation and test samples; "" where there are none.
    """

    number: str
    evaluated: str = ""

    def templates(self, where: str, products: str, split: str) -> Sequence[Template]:
        """The templates of a split, in the user's words where there are any.

        Raises:
            UserError: what is wrong with the user's words.
        """
        templates = all_templates(templates_file())
        if split != "train":
            return [templates[self.evaluated]] if self.evaluated else []
        return [t for number, t in templates.items() if number.split("-")[0] == self.number]


@gin.configurable(module="recalign")
def p5_templates(file: str | None = None) -> str | None:
    """The JSON file with the user's own words, if there is one."""
    if not isinstance(file, str | None):
        raise UserError(f"p5_templates.file = {file!r}: the name of a JSON file is needed")
    return file


def templates_file() -> str | None:
    """The file of the experiment that this thread is in, else gin's."""
    surroundings = entered()
    return p5_templates() if surroundings is None else surroundings.templates_file


def all_templates(file: str | None) -> Mapping[str, Template]:
    """All templates by number, in the words of a JSON file where it has them, else in ours.

    The file, local or `gs://`, holds `{number: {"inputs": …, "targets": …}}`.

    Raises:
        UserError: what is wrong in the file, in one line.
    """
    if file is None:
        return _ours()
    own = {number: template_of(number, *words, str(file)) for number, words in _read(file).items()}
    return {**_ours(), **own}


@functools.cache
def _ours() -> Mapping[str, Template]:
    return {n: template_of(n, *words, "recalign/prompts.py") for n, words in P5.items()}


def template_of(number: str, inputs: str, targets: str, source: str) -> Template:
    """Parses and checks the wording of a template; `source` is where it stands, for messages.

    Raises:
        UserError: unknown, missing or repeated fields, or fields glued to what they cannot be.
    """
    where = f"{source}: template {number}"
    family, place = map(int, number.split("-"))
    said = Prompt(inputs, targets).template(where, number=family * 100 + place)
    ours = Prompt(*P5[number]).template(number)
    sides = {}
    for side, truth in (("inputs", {}), ("targets", {"asked": "target", "asked_stars": "stars"})):
        _check_fields([f.key for f in said.fields(side)], ours.fields(side), f"{where}, {side}")
        for field in said.fields(side):
            check_glue(
                field,
                f"{where}, {side}",
                stands_alone=field.name in _ALONE,
                is_list=field.name in ("history", "candidates"),
            )
        sides[side] = _in_our_names(getattr(said, side), truth)
    if number in EVALUATED and said.answer is None:
        (field,) = said.fields("targets")
        raise UserError(f"{where}, targets: the answer is evaluated, so it is {field} alone")
    return Template(sides["inputs"], sides["targets"], said.number)


def _in_our_names(sentences: Sequence[Sentence], truth: Mapping[str, str]) -> tuple[Sentence, ...]:
    """Sentences with our names of P5's fields; `truth`: those that are shown in place of others."""

    def renamed(part: Part) -> Part:
        if not isinstance(part, Field):
            return part
        name, _, form = P5_FIELDS[part.name].partition(":")
        return dataclasses.replace(part, name=truth.get(name, name), form=form)

    return tuple(tuple(map(renamed, sentence)) for sentence in sentences)


def _check_fields(names: Sequence[str], fields: Iterable[Field], where: str) -> None:
    wanted = [field.name for field in fields]
    for name in names:
        if name not in P5_FIELDS:
            raise UserError(f"{where}: {{{name}}} is no field; there are {_braced(P5_FIELDS)}")
    for name in dict.fromkeys([*wanted, *names]):
        if name not in names:
            wrong = "is missing"
        elif name not in wanted:
            wrong = "is not one of its fields"
        elif names.count(name) > 1:
            wrong = "stands twice"
        else:
            continue
        raise UserError(f"{where}: {{{name}}} {wrong}; it shows {_braced(wanted)}")


def _braced(names: Collection[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in names)


def _read(file: str) -> Mapping[str, tuple[str, str]]:
    """The wordings of a JSON file."""
    try:
        content = epath.Path(file).read_text()
        wording = json.loads(content, object_pairs_hook=lambda pairs: _without_repeats(pairs, file))
        json.dumps(wording, ensure_ascii=False).encode()  # half a surrogate is no text
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"P5 templates {file}: {error}") from error
    if not isinstance(wording, dict):
        raise UserError(f'{file}: {{number: {{"inputs": …, "targets": …}}}} is needed')
    last = {number.split("-")[0]: number for number in P5}
    for number, sides in wording.items():
        if number not in P5:
            there = ", ".join(f"{family}-1 to {end}" for family, end in last.items())
            raise UserError(f"{file}: there is no template {number}; P5 has {there}")
        is_pair = isinstance(sides, dict) and set(sides) == {"inputs", "targets"}
        if not is_pair or not all(isinstance(words, str) for words in sides.values()):
            raise UserError(
                f'{file}: template {number}: {{"inputs": "…", "targets": "…"}} is needed, both as '
                "strings and nothing else"
            )
    return {number: (sides["inputs"], sides["targets"]) for number, sides in wording.items()}


def _without_repeats(pairs: Sequence[tuple[str, Any]], file: str) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise UserError(f"{file}: {key!r} stands twice")
    return dict(pairs)
