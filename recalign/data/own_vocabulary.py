"""A vocabulary of a dataset's own, from its catalogue: for whoever cannot read T5's, or has a
catalogue in a language that T5's knows little of. Pre-trained weights do not fit it."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

import sentencepiece

from recalign import prompts
from recalign.data.catalogue import Catalogue
from recalign.data.readers.tally import WARNING
from recalign.data.vocabulary import (
    EXTRA_IDS,
    T5_ADDRESS,
    T5_MODEL,
    embedding_rows,
    train_vocabulary,
    why_t5_cannot_be_read,
    with_sentinels,
)
from recalign.wording import SUBJECTS

_PIECES = 16_000
"""The most pieces; a small catalogue gives fewer."""

_PIECES_BESIDE_ITEM_TOKENS = 2_000
"""The same where IDs are pieces of their own. Each piece is a row that every step computes a logit
for, and words then say little that the item's own row does not come to hold."""

_TITLES_IN_PROMPTS = 300
"""Titles that are shown in every wording, so that the wordings' own words become pieces."""

_CHARACTERS = "".join(map(chr, range(33, 127)))
"""What prompts, prices and IDs may hold, whether the catalogue does or not."""


def own_vocabulary(catalogue: Catalogue, *, item_tokens: bool) -> tuple[bytes, str]:
    """The vocabulary's file, and a note that says what an experiment binds for it.

    Args:
      catalogue: whose texts it is made of.
      item_tokens: whether a piece for each ID or code will follow.
    """
    most = _PIECES_BESIDE_ITEM_TOKENS if item_tokens else _PIECES
    model = train_vocabulary(_sentences(catalogue), most, _CHARACTERS)
    model = with_sentinels(model, EXTRA_IDS)
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model).vocab_size()
    # With item tokens the number of rows is told when these are there.
    rows = "" if item_tokens else f"; VOCAB_SIZE = {embedding_rows(pieces):_} will do"
    note = (
        f"a vocabulary of the catalogue's own texts, {pieces:,} pieces: pre-trained weights do not"
        f" fit it{rows}"
    )
    return model, note


def _sentences(catalogue: Catalogue) -> Iterator[str]:
    yield from wordings(catalogue.titles[:_TITLES_IN_PROMPTS])
    yield from catalogue.titles
    for name in ("brand", "description", "price"):
        yield from filter(None, catalogue.table[name].to_pylist())
    yield from itertools.chain.from_iterable(catalogue.table["categories"].to_pylist())


def wordings(titles: Sequence[str]) -> Iterator[str]:
    """What a vocabulary is made from: every wording, with every title."""
    ids = [f"I{n}" for n, _ in enumerate(titles, start=1)]
    items = [
        prompts.ITEM.format(id=id_, title=title) for id_, title in zip(ids, titles, strict=True)
    ]
    end = prompts.ITEM_END
    for n, item in enumerate(items):
        following = (n + 1) % len(items)
        other, other_id = items[following], ids[following]
        shown = {
            "products": "products",
            "history": f"{item}{end} {other}{end}",
            "masked_history": f"{prompts.MASKED_ITEM}{end} {other}{end}",
            "masked": f"{item}{end}",
            "liked": f"{item}{end}",
            "disliked": f"{other}{end}",
            "candidates": f"{ids[n]}{prompts.LIST_SEPARATOR} {other_id}",
            "choices": f"{item}{end} {other}{end}",
            "target": other_id,
            "target:item": other,
            "target:items": f"{other}{end}",
            "label": prompts.YES_NO[0],
            "question": prompts.FIELD_QUESTIONS["title"],
            "value": titles[n],
        }
        for name, prompt in prompts.PROMPTS.items():
            # tiger: nothing but IDs, which the others have too. The rest: vocabularies stay
            # as they were before these came, and letters spell the few words that are new.
            if name not in ("tiger", "tiger_rating", "after", "together"):
                yield f"{_said(prompt.inputs, shown)} {_said(prompt.targets, shown)}"
        yield " ".join(prompts.YES_NO)


def _said(text: str | tuple[str, ...], shown: Mapping[str, str]) -> str:
    """A prompt's sentences with these texts in place of its fields."""
    whole = text if isinstance(text, str) else " ".join(text)
    for subject in SUBJECTS:
        whole = whole.replace("{subject}", subject, 1)
    return re.sub("{(.+?)}", lambda field: shown[field[1]], whole)


def t5_warning() -> str:
    """What a person is told where T5's own vocabulary cannot be read; "" where it can."""
    reason = why_t5_cannot_be_read()
    return reason and (
        f"{WARNING}T5's vocabulary {T5_MODEL} cannot be read from here ({reason}): prompts and"
        " training need one: prepare again with --sentencepiece_model FILE, a copy of it from"
        f" {T5_ADDRESS}, or with --item_tokens --vocabulary own, which needs none; baselines need"
        " none either"
    )
