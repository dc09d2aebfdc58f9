"""How a prompt is written: format strings, split into words and fields. Plain strings.

A field is `{name}` or `{name:form}`, such as `{history:ids}`; a brace of one's own is written
twice. `{products}` is the noun of what users buy, `{subject}` "A user" in the first sentence that
is shown and "The user" later.
"""

import dataclasses
import string
from collections.abc import Iterator, Sequence

from recalign.errors import UserError

SUBJECTS = ("A user", "The user")


_SUBJECT = "\1"  # stands for a subject in words


@dataclasses.dataclass(frozen=True)
class Words:
    """Fixed words, with white space around."""

    text: str

    @property
    def variants(self) -> tuple[str, ...]:
        """The words as the first sentence that is shown has them, and as later ones do."""
        return tuple(self.text.replace(_SUBJECT, subject) for subject in SUBJECTS)


@dataclasses.dataclass(frozen=True)
class Field:
    """What differs from sample to sample, with the punctuation that is glued to it."""

    name: str  # of a field of the samples
    form: str = ""  # how it is written; "" as its preprocessor says
    prefix: str = ""  # what stands before it without a space
    suffix: str = ""  # what stands after it without a space; after a list's last item

    @property
    def key(self) -> str:
        """Name and form as a prompt has them between its braces."""
        return f"{self.name}:{self.form}" if self.form else self.name

    def __str__(self) -> str:
        return f"{{{self.key}}}"


Part = Words | Field
Sentence = tuple[Part, ...]


@dataclasses.dataclass(frozen=True)
class Template:
    """A prompt that was split: the sentences that the model reads, and those that it should write.

    `number` is P5's, family * 100 + template; 0 for other prompts.
    """

    inputs: tuple[Sentence, ...]
    targets: tuple[Sentence, ...]
    number: int = 0

    def fields(self, *sides: str) -> Iterator[Field]:
        """The fields of `inputs`, `targets` or, without arguments, of both."""
        for side in sides or ("inputs", "targets"):
            for sentence in getattr(self, side):
                yield from (part for part in sentence if isinstance(part, Field))

    @property
    def answer(self) -> Field | None:
        """The field that is the whole answer; None where the targets are something else."""
        parts = [part for sentence in self.targets for part in sentence]
        lone = len(parts) == 1 and isinstance(parts[0], Field) and parts[0]
        return lone if lone and not lone.prefix and not lone.suffix else None


@dataclasses.dataclass(frozen=True)
class Prompt:
    """The wording of a task: what the model reads, and what it should write.

    A text is a sentence, or a tuple of them. A sentence is left out where all its fields may be
    empty and are, such as the dislikes of a user without any.
    """

    inputs: str | tuple[str, ...]
    targets: str | tuple[str, ...] = ()

    def templates(self, where: str, products: str, split: str) -> Sequence[Template]:
        """The templates of a split: the prompt alone."""
        del split
        return [self.template(where, products)]

    def template(self, where: str, products: str = "products", number: int = 0) -> Template:
        """The prompt, split. `where` names the task in messages; `products` is what users buy.

        Raises:
            UserError: a stray brace, or fields without a space between them.
        """

        def side(name: str, text: str | tuple[str, ...]) -> tuple[Sentence, ...]:
            sentences = (text,) if isinstance(text, str) else text
            return tuple(split(sentence, f"{where}, {name}", products) for sentence in sentences)

        return Template(side("inputs", self.inputs), side("targets", self.targets), number)


def check_glue(field: Field, where: str, *, stands_alone: bool, is_list: bool) -> None:
    """Refuses punctuation at fields that cannot have it, by a UserError.

    What may be cut between two words stands alone, with spaces around; what precedes a list stands
    apart.
    """
    if field.prefix and (stands_alone or is_list):
        raise UserError(f"{where}: {field.prefix!r} before {field} needs a space after it")
    if field.suffix and stands_alone:
        raise UserError(f"{where}: {field.suffix!r} after {field} needs a space before it")


_PLACE = "\0"  # stands where a field does, while what is glued to it is looked for


def split(text: str, where: str, products: str = "products") -> Sentence:
    """Splits a sentence at its fields and spaces.

    "After {history}, which next?" -> (Words("After"), Field("history", suffix=","),
    Words("which next?"))

    Raises:
        UserError: a stray brace, or fields without a space between them.
    """
    nouns = {"products": products, "subject": _SUBJECT}
    fields: list[Field] = []
    words = ""
    try:
        pieces = list(string.Formatter().parse(text))
    except ValueError as error:
        raise UserError(
            f"{where}: {error} in {text!r}: a brace of one's own is written twice"
        ) from error
    for literal, name, form, conversion in pieces:
        if name == "" or conversion:
            raise UserError(f"{where}: {text!r} has braces around no field: write {{{{ and }}}}")
        words += literal.replace(_PLACE, "").replace(_SUBJECT, "") + nouns.get(name or "", "")
        if name and name not in nouns:
            words += _PLACE
            fields.append(Field(name, form or ""))
    parts: list[Part] = []
    for word in words.split():
        prefix, *suffix = word.split(_PLACE)
        last = parts[-1] if parts else None
        if len(suffix) > 1:
            raise UserError(f"{where}: a space is needed after {fields[0]}")
        if suffix and _SUBJECT in word:
            raise UserError(f"{where}: a space is needed between {{subject}} and {fields[0]}")
        if suffix:
            parts.append(dataclasses.replace(fields.pop(0), prefix=prefix, suffix=suffix[0]))
        elif isinstance(last, Words):
            parts[-1] = Words(f"{last.text} {word}")
        else:
            parts.append(Words(word))
    return tuple(parts)
