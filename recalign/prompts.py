"""Every wording as data, and `render()`, which turns one sample into plain strings.

A prompt is a sequence of sections: some fixed words, then a slot for what differs from sample to
sample. The strings here and the token ids of `recalign/preprocessors/` read the same data, so a
prompt is worded once. The wording is that of Table 11 of the paper (Figure 1 shows the same).

Where the paper disagrees with itself, one reading is taken everywhere:

* Item IDs in a history: Table 11 prints `Item ID: 19762` in histories and `I3977` as target and
  candidate. The model could not tell that they name the same kind of thing, so it is `I3977`
  everywhere, as section 3.2 writes (`I123`).
* An item is `Item ID: I1, Title: …;` with the semicolon in every list (Table 11); section 3.1 ends
  the last one with a full stop or a comma. The item that a rating prompt asks about ends the prompt
  and has no semicolon, as in Table 11.
* The history of an MIM prompt says "(arranged in chronological order, …)" and a BPR prompt asks for
  one of "two items", as in Table 11, not "two products" as in section 3.1.3.
* The products' noun ("Amazon products") is a parameter: it names the shop of the data.
* An empty list takes its sentence with it: a user without dislikes has no "The user dislikes …".
  The first sentence that is left speaks of "A user", the following one of "The user" (the paper
  shows no such case).
* The rating prompt of Table 11 shows the last five of the nine items of its retrieval prompt;
  section 3.2 gives all recommendation tasks the same window, and so do we.
* The pool of the ranking prompt in Table 11 has items twice (I3446, I2618); ours has none.
* Item content (Figure 3) asks "What's the brand of I1014?" with a plain apostrophe; categories,
  which it does not show, are asked for in the plural.
"""

import dataclasses
import enum
from collections.abc import Mapping, Sequence

from recalign.errors import UserError


class Slot(enum.Enum):
    """What a section shows after its words."""

    HISTORY = "the items of the window, oldest first; a masked one as the mask"
    HISTORY_IDS = "the IDs of the window, oldest first"
    LIKED = "the items of the history that the user likes"
    DISLIKED = "the items of the history that the user dislikes"
    CANDIDATES = "the IDs of the candidate pool"
    CHOICES = "two items, one of which the user bought"
    ASKED = "the item that the question is about"
    TARGET_ID = "the ID of the target"
    TARGET_ITEM = "the target with its title"
    MASKED = "the items behind the masks, oldest first"
    ANSWER = "yes or no"
    FIELD = "which content field of an item is asked for"
    ASKED_ID = "the ID of the item whose content is asked for"
    VALUE = "the content of that field"


@dataclasses.dataclass(frozen=True)
class Section:
    """Fixed words, then a slot; words alone where `slot` is None.

    A section whose slot has nothing to show is left out with its words. `{products}` and
    `{subject}` ("A user" in the first section shown, "The user" later) are filled in.
    """

    words: str = ""
    slot: Slot | None = None


@dataclasses.dataclass(frozen=True)
class Prompt:
    """The wording of one task: what the model reads, and what it should write."""

    inputs: tuple[Section, ...]
    targets: tuple[Section, ...]

    @property
    def slots(self) -> frozenset[Slot]:
        return frozenset(s.slot for s in self.inputs + self.targets if s.slot is not None)


ITEM = "Item ID: {id}, Title: {title}"
ITEM_END = ";"
SHORTENED_END = " ;"  # after a title that was cut between two words to fit the length
CANDIDATE_SEPARATOR = ","
CANDIDATES_END = "."
MASKED_ITEM = "[masked item];"
ANSWERS = ("no", "yes")  # indexed by the label: 1 = like
SUBJECTS = ("A user", "The user")
FIELD_QUESTIONS: Mapping[str, str] = {
    "title": "What's the title of",
    "categories": "What are the categories of",
    "brand": "What's the brand of",
    "price": "What's the price of",
    "description": "What's the description of",
}
ASKED_ID_END = "?"

_HISTORY = Section(
    "A user has purchased the following {products} "
    "(arranged in chronological order, from earliest to most recent):",
    Slot.HISTORY,
)

PROMPTS: Mapping[str, Prompt] = {
    "retrieval": Prompt(
        inputs=(_HISTORY, Section("What would the user buy next?")),
        targets=(Section(slot=Slot.TARGET_ID),),
    ),
    "ranking": Prompt(
        inputs=(
            _HISTORY,
            Section(
                "Which of the following candidate items would you recommend the user to buy next? "
                "Candidate items are:",
                Slot.CANDIDATES,
            ),
        ),
        targets=(Section(slot=Slot.TARGET_ID),),
    ),
    "rating": Prompt(
        inputs=(
            Section("{subject} likes the following {products}:", Slot.LIKED),
            Section("{subject} dislikes the following {products}:", Slot.DISLIKED),
            Section(
                "Predict whether the user would like the following item. Answer yes or no.",
                Slot.ASKED,
            ),
        ),
        targets=(Section(slot=Slot.ANSWER),),
    ),
    "mim": Prompt(
        inputs=(_HISTORY, Section("What are the masked items, in chronological order?")),
        targets=(Section(slot=Slot.MASKED),),
    ),
    # Span corruption works on tokens: the prompt is the text that the spans are cut out of.
    "mlm": Prompt(inputs=(Section(slot=Slot.HISTORY),), targets=()),
    "bpr": Prompt(
        inputs=(
            _HISTORY,
            Section("Which of the following two items would the user buy next?", Slot.CHOICES),
        ),
        targets=(Section(slot=Slot.TARGET_ITEM),),
    ),
    "ie": Prompt(
        inputs=(Section(slot=Slot.FIELD), Section(slot=Slot.ASKED_ID)),
        targets=(Section(slot=Slot.VALUE),),
    ),
    # Not the paper's: TIGER (arXiv 2305.05065) reads a sequence of IDs and writes the next.
    "tiger": Prompt(
        inputs=(Section(slot=Slot.HISTORY_IDS),), targets=(Section(slot=Slot.TARGET_ID),)
    ),
}


@dataclasses.dataclass(frozen=True)
class Item:
    """An item as prompts show it."""

    id: str
    title: str

    def __str__(self) -> str:
        return ITEM.format(id=self.id, title=self.title)


@dataclasses.dataclass(frozen=True)
class Rendered:
    """One sample as text."""

    inputs: str
    targets: str


def section_words(section: Section, *, products: str, first: bool) -> str:
    """The fixed words of a section, with its placeholders filled in."""
    return section.words.format(products=products, subject=SUBJECTS[0 if first else 1])


def render(
    task: str | Prompt,
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
    """One sample of a task (a key of `PROMPTS`, or a prompt of one's own) as plain strings.

    Args:
        task: the name of a task, or its prompt.
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

    >>> render("retrieval", history=[Item("I2", "Red kite")], target=Item("I7", "Yo-yo")).targets
    'I7'
    """
    if isinstance(task, str):
        if task not in PROMPTS:
            raise UserError(f"no prompt for the task {task!r}; there are {', '.join(PROMPTS)}")
        task = PROMPTS[task]
    if likes and len(likes) != len(history):
        raise ValueError(f"{len(likes)} likes for a history of {len(history)} items")
    hidden = set(masked)
    shown = {
        Slot.HISTORY: [
            MASKED_ITEM if n in hidden else f"{item}{ITEM_END}" for n, item in enumerate(history)
        ],
        Slot.HISTORY_IDS: [item.id for item in history],
        Slot.LIKED: [f"{i}{ITEM_END}" for i, like in zip(history, likes, strict=False) if like],
        Slot.DISLIKED: [
            f"{i}{ITEM_END}" for i, like in zip(history, likes, strict=False) if not like
        ],
        Slot.CANDIDATES: [f"{c}{CANDIDATE_SEPARATOR}" for c in candidates[:-1]]
        + [f"{c}{CANDIDATES_END}" for c in candidates[-1:]],
        Slot.CHOICES: [f"{item}{ITEM_END}" for item in choices],
        Slot.ASKED: [] if target is None else [str(target)],
        Slot.TARGET_ID: [] if target is None else [target.id],
        Slot.TARGET_ITEM: [] if target is None else [f"{target}{ITEM_END}"],
        Slot.MASKED: [f"{history[n]}{ITEM_END}" for n in sorted(hidden)],
        Slot.ANSWER: [] if liked is None else [ANSWERS[int(liked)]],
        Slot.FIELD: [] if field is None else [FIELD_QUESTIONS[field]],
        Slot.ASKED_ID: [] if target is None else [f"{target.id}{ASKED_ID_END}"],
        Slot.VALUE: [] if value is None else [value],
    }
    return Rendered(
        _join(task.inputs, shown, products),
        _join(task.targets, shown, products),
    )


def _join(sections: Sequence[Section], shown: Mapping[Slot, Sequence[str]], products: str) -> str:
    """Sections separated by single spaces; those with nothing to show are left out."""
    parts: list[str] = []
    for section in sections:
        if section.slot is not None and not shown[section.slot]:
            continue
        if section.words:
            parts.append(section_words(section, products=products, first=not parts))
        if section.slot is not None:
            parts.extend(shown[section.slot])
    return " ".join(parts)
