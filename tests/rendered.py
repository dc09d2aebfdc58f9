"""The plain way to show a sample: whole strings, put together without the package's engine."""

import dataclasses
import itertools
import operator
import re
from collections.abc import Mapping, Sequence

from recalign.prompts import (
    FIELD_QUESTIONS,
    ITEM,
    ITEM_END,
    LIST_SEPARATOR,
    MASKED_ITEM,
    PROMPTS,
    YES_NO,
)


@dataclasses.dataclass(frozen=True)
class Item:
    """An item as prompts show it."""

    id: str
    title: str

    def __str__(self) -> str:
        return ITEM.format(id=self.id, title=self.title)


@dataclasses.dataclass(frozen=True)
class Rendered:
    inputs: str
    targets: str


def render(
    task: str,
    *,
    products: str = "products",
    history: Sequence[Item] = (),
    target: Item | None = None,
    candidates: Sequence[str] = (),
    choices: Sequence[Item] = (),
    masked: Sequence[int] = (),
    likes: Sequence[bool] = (),
    liked: bool | None = None,
    field: str | None = None,
    value: str | None = None,
) -> Rendered:
    """One sample of a task as plain strings.

    Args:
        task: a key of `PROMPTS`.
        products: the noun for what the user bought.
        history: the items of the window, oldest first.
        target: the next item (`rating`: the item asked about); None leaves `targets` empty.
        candidates: IDs of the candidate pool, in prompt order (`ranking`).
        choices: the two items of `bpr`, in prompt order.
        masked: positions in `history` that are masked (`mim`).
        likes: for each item of `history`, whether the user likes it (`rating`).
        liked: whether the user likes `target` (`rating`).
        field: the content field asked for, of `target` (`ie`).
        value: its content (`ie`).
    """
    items = [f"{item}{ITEM_END}" for item in history]
    answers = [f"{item.id} {YES_NO[liked]}" for item, liked in zip(history, likes, strict=False)]
    hidden = dict.fromkeys(masked, f"{MASKED_ITEM}{ITEM_END}")
    shown = {
        "masked_history": " ".join(hidden.get(n, item) for n, item in enumerate(items)),
        "masked": " ".join(items[n] for n in sorted(hidden)),
        "answered": " ".join(answers),
        "candidates": f"{LIST_SEPARATOR} ".join(candidates),
        "choices": " ".join(f"{item}{ITEM_END}" for item in choices),
        "target": "" if target is None else target.id,
        "target:item": "" if target is None else str(target),
        "target:items": "" if target is None else f"{target}{ITEM_END}",
        "label": "" if liked is None else YES_NO[int(liked)],
        "question": "" if field is None else FIELD_QUESTIONS[field],
        "value": value or "",
    }
    for form, texts in (("", items), (":ids", [item.id for item in history])):
        shown[f"history{form}"] = " ".join(texts)
        shown[f"liked{form}"] = " ".join(itertools.compress(texts, likes))
        shown[f"disliked{form}"] = " ".join(itertools.compress(texts, map(operator.not_, likes)))
    prompt, words = PROMPTS[task], {"products": products}
    return Rendered(_text(prompt.inputs, shown | words), _text(prompt.targets, shown | words))


def _text(text: str | tuple[str, ...], shown: Mapping[str, str]) -> str:
    """Sentences separated by single spaces; one whose fields have nothing to show is left out."""
    said: list[str] = []
    for sentence in (text,) if isinstance(text, str) else text:
        fields = set(re.findall("{(.+?)}", sentence)) - {"products", "subject"}
        if fields and not any(shown[field] for field in fields):
            continue
        sentence = sentence.replace("{subject}", "The user" if said else "A user")
        said.append(re.sub("{(.+?)}", lambda field: shown[field[1]], sentence).strip(" "))
    return " ".join(said)
