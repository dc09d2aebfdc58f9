"""What fields samples have: how many numbers one holds, and how a number is written in a prompt."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from recalign import prompts
from recalign.data.prepared import PreparedDataset
from recalign.preprocessors.settings import TaskSettings


@dataclasses.dataclass(frozen=True)
class Form:
    """How the numbers of a field are written."""

    texts: Callable[[PreparedDataset], Sequence[str]] | None = None  # of all numbers, by a dataset
    words: tuple[str, ...] = ()  # the same, where it is the same for all datasets
    end: str = ""  # glued to every text
    separator: str = ""  # glued to every text but the last of a list
    cut: int = 0  # in which turn it is cut where a prompt is too long; 0 for never
    between_words: bool = True  # whether cuts are between words, where that leaves anything
    uncut_words: int = 0  # how many of the first words are never cut

    def texts_of(self, dataset: PreparedDataset) -> Sequence[str]:
        return self.words if self.texts is None else self.texts(dataset)


@dataclasses.dataclass(frozen=True)
class FieldType:
    """What a field of the samples holds.

    A prompt that names no form has the first one. There is none for a text that the batch holds as
    strings.
    """

    forms: Mapping[str, Form]  # how it may be written, by name
    width: Callable[[TaskSettings], int] = lambda settings: 1  # how many numbers it has
    in_window: bool = False  # whether it is aligned with the history, so that the oldest may leave
    dropped: bool = False  # whether its first numbers may leave where there is no room for all
    optional: bool = False  # whether it may have nothing to show, which takes its sentence with it
    cut: int = 0  # where it is a text, in which turn it is cut


def star_values(dataset: PreparedDataset) -> np.ndarray:
    """The ratings that occur in training, ascending: their places are the stars' numbers."""
    ratings = dataset.sequences("train").ratings
    return np.unique(np.zeros(1, np.float32) if ratings is None else ratings)


def item_values(dataset: PreparedDataset, field: str) -> list[str]:
    """A content field of every item as text, "" where it is unknown."""
    values = dataset.catalogue.table[field].to_pylist()
    return [", ".join(value) if field == "categories" else value or "" for value in values]


def _items(dataset: PreparedDataset) -> list[str]:
    items = zip(dataset.catalogue.ids, dataset.catalogue.titles, strict=True)
    return [prompts.ITEM.format(id=id_, title=title) for id_, title in items]


def _titles(dataset: PreparedDataset) -> list[str]:
    items = zip(dataset.catalogue.ids, dataset.catalogue.titles, strict=True)
    return [title or id_ for id_, title in items]


def _values(dataset: PreparedDataset) -> list[str]:
    return [value for field in prompts.FIELD_QUESTIONS for value in item_values(dataset, field)]


def _answered(dataset: PreparedDataset) -> list[str]:
    return [f"{id_} {answer}" for answer in prompts.YES_NO for id_ in dataset.catalogue.ids]


def _names_of_users(dataset: PreparedDataset) -> Sequence[str]:
    return dataset.sequences("train").users


def _numbers_of_users(dataset: PreparedDataset) -> list[str]:
    return [f"user_{n}" for n, _ in enumerate(_names_of_users(dataset), start=1)]


# When what is cut: reviews first, then explanations, headlines, titles, features.
REVIEW, EXPLANATION, HEADLINE, TITLE, FEATURE = 1, 2, 3, 4, 5

_IDS = Form(lambda dataset: dataset.catalogue.ids)
_ITEM = Form(_items, cut=TITLE, uncut_words=len(prompts.ITEM.split("{title}")[0].split()))
_ITEM_FORMS = {
    "ids": _IDS,
    "list": dataclasses.replace(_IDS, separator=prompts.LIST_SEPARATOR),
    "items": dataclasses.replace(_ITEM, end=prompts.ITEM_END),
    "item": _ITEM,
    "title": Form(_titles, cut=TITLE),
}


def _or_mask(form: Form) -> Form:
    """The form with one more number, the mask's."""
    return dataclasses.replace(
        form, texts=lambda dataset: [*form.texts_of(dataset), prompts.MASKED_ITEM]
    )


_MASKED_FORMS = {name: _or_mask(_ITEM_FORMS[name]) for name in ("items", "ids", "list")}


def items(form: str = "ids", width: int | Callable[[TaskSettings], int] = 1) -> FieldType:
    """Items, as `ids` ("I1 I2"), `list` ("I1, I2"), `items` ("Item ID: I1, Title: Yo-yo; …"),
    `item` (the same of one, without the semicolon) or `title`.

    Args:
        form: how they are written where a prompt does not say it.
        width: how many there are, at most; a function of the settings where it depends on them.
    """
    forms = {form: _ITEM_FORMS[form]} | _ITEM_FORMS
    return FieldType(forms, width if callable(width) else lambda settings: width)


def window(
    width: Callable[[TaskSettings], int] = lambda settings: settings.history_length,
    *,
    masked: bool = False,
    optional: bool = False,
) -> FieldType:
    """Items of a history, the oldest first: they leave first where there is no room.

    Where `masked`, a number may also be that of the mask, the number of items; where `optional`,
    there may be none.
    """
    forms = _MASKED_FORMS if masked else {"items": _ITEM_FORMS["items"]} | _ITEM_FORMS
    return FieldType(forms, width, in_window=True, dropped=True, optional=optional)


def words(*texts: str, **forms: tuple[str, ...]) -> FieldType:
    """One of some words, by its number; `forms` are other such words, by name."""
    return FieldType({"": Form(words=texts)} | {n: Form(words=w) for n, w in forms.items()})


def text(cut: int = REVIEW) -> FieldType:
    """A text of the log, string [B]; `cut` says in which turn it is cut to fit."""
    return FieldType({}, cut=cut)


ROW = FieldType({"number": Form(_numbers_of_users), "name": Form(_names_of_users)})
"""A user, by the number in the dataset."""

STARS = FieldType({"": Form(lambda dataset: [f"{stars:g}" for stars in star_values(dataset)])})
"""A rating, by its place among those that occur."""

QUESTION = words(*prompts.FIELD_QUESTIONS.values())
"""A content field of items, by its number."""

VALUE = FieldType({"": Form(_values, cut=REVIEW, between_words=False)})
"""The content of an item: the field's number times the number of items, plus the item's."""

ANSWERED = dataclasses.replace(window(), forms={"": Form(_answered)})
"""A history whose numbers say what the user answered too: see `ratings.answered`."""

NUMBER = FieldType({})
"""What is not written."""
