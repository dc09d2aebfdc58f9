"""What is wrong with a task, in one line that names the field, when it is registered."""

from collections.abc import Mapping

from recalign.data.splits import SPLITS
from recalign.errors import UserError
from recalign.preprocessors.fields import FieldType
from recalign.preprocessors.layout import form_of
from recalign.preprocessors.preprocessor import MAKERS, TOKENS
from recalign.preprocessors.samples import Recipe
from recalign.wording import Field, Template, check_glue

_READ = {"retrieval": ["target"], "ranking": ["target", "candidates"], "rating": ["label"]}
"""The features that metrics read, by what a task is evaluated as."""


def check(recipe: Recipe, evaluated_as: str) -> None:
    """Refuses a task that could not be made.

    Raises:
        UserError: a field of its words that is unknown, that no preprocessor makes or that is not
            written so; a preprocessor before what it needs; answers that its metrics cannot read.
    """
    _check_order(recipe)
    if evaluated_as and evaluated_as not in _READ:
        raise UserError(
            f"{recipe.task}: evaluated_as is {evaluated_as!r}; there are {', '.join(_READ)}"
        )
    kept = {name for step in recipe.preprocessors[-1:] for name in step.needs}
    for name in _READ.get(evaluated_as, ()):
        if name not in kept:
            raise UserError(
                f"{recipe.task}: it is evaluated as {evaluated_as}, so keep_features() comes last "
                f"and keeps {name!r}"
            )
    types = recipe.types
    for split in SPLITS:
        for template in recipe.templates(split):
            for side in TOKENS:
                for field in template.fields(side):
                    _check_field(field, types, f"{recipe.task}, {side}")
            if evaluated_as and split != "train":
                _check_answer(template, types, recipe.task, evaluated_as)


def _check_order(recipe: Recipe) -> None:
    made = {"sample", "position"}
    for step in recipe.preprocessors:
        for name in step.needs:
            if name not in made:
                raise UserError(
                    f"{recipe.task}: {step} needs the field {name!r}, which no preprocessor before "
                    f"it makes{_hint(name)}; there are {', '.join(sorted(made))}"
                )
        made |= set(step.makes)


def _check_field(field: Field, types: Mapping[str, FieldType], where: str) -> None:
    written = [name for name, made in types.items() if made.forms or made.cut]
    if field.name not in written:
        there = ", ".join(f"{{{name}}}" for name in written)
        raise UserError(
            f"{where}: {{{field.name}}} is no field that its preprocessors make"
            f"{_hint(field.name)}; there are {there} (a brace of one's own is written twice)"
        )
    made = types[field.name]
    if field.form and field.form not in made.forms:
        forms = ", ".join(f"{{{field.name}:{form}}}" for form in made.forms if form)
        there = f"there are {forms}" if forms else f"it is {{{field.name}}}"
        raise UserError(f"{where}: {field} is no form of {field.name!r}; {there}")
    form = form_of(field, types)
    check_glue(
        field,
        where,
        stands_alone=form is None or bool(form.cut),
        is_list=form is not None and (made.in_window or bool(form.separator)),
    )


def _hint(name: str) -> str:
    makers = MAKERS.get(name, [])
    return f" ({' or '.join(makers)} would)" if makers else ""


def _check_answer(
    template: Template, types: Mapping[str, FieldType], task: str, evaluated_as: str
) -> None:
    answer = template.answer
    form = None if answer is None else form_of(answer, types)
    if evaluated_as == "rating":
        is_read = form is not None and len(form.words) == 2
        needed = "one of two words alone, such as {label}"
    else:
        is_read = answer is not None and answer.name == "target" and bool(form and not form.cut)
        needed = "the target's ID alone, {target:ids}"
    if not is_read:
        shown = ", ".join(map(str, template.fields("targets")))
        raise UserError(
            f"{task}: it is evaluated as {evaluated_as}, so its targets are {needed}; they are "
            f"{shown or 'without a field'}{'' if answer else ' with words'}"
        )
