"""Joined token ids equal the whole prompt tokenized, whatever the titles."""

import types

import pyarrow as pa
import pytest
import seqio
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from recalign import prompts
from recalign.preprocessors.layout import Layout, Shown
from recalign.prompts import Item, Slot
from tests.corpus import shared_data

ODD_TITLES = [
    "Café del Mar — “Vol. 2”",
    "トイ・ストーリー 3",
    "a\u00a0b\u2003c\u200bd",
    " leading and trailing  spaces ",
    "ﬁne ½ Ⅳ ①",
    "e\u0301 combining",
    "\u0301starts with a combining mark",
    "🎲🧩 dice",
    "semi;colon; and, comma.",
    "tab\tand\nnewline",
    "<extra_id_0> </s> <unk>",
    "[masked item];",
    "▁lower▁one▁eighth",
    "x" * 300,
    "Item ID: I7, Title: nested;",
    "١٢٣ שלום",
]


def layout_of(kind, titles, vocabulary):
    ids = tuple(f"I{n + 1}" for n in range(len(titles)))
    table = pa.table(
        {
            "title": list(titles),
            "categories": [["Toys", "Games"]] * len(ids),
            "brand": ["Acme"] * len(ids),
            "price": ["$3.50"] * len(ids),
            "description": list(titles),
        }
    )
    catalogue = types.SimpleNamespace(ids=ids, titles=tuple(titles), table=table)
    dataset = types.SimpleNamespace(catalogue=catalogue)
    return Layout(prompts.PROMPTS[kind], dataset, vocabulary, "Amazon products")


def items(titles):
    return [Item(f"I{n + 1}", title) for n, title in enumerate(titles)]


def whole(vocabulary, text):
    return [*vocabulary.encode(text), vocabulary.eos_id]


def check_joined_equals_whole(titles, vocabulary):
    shown = items(titles)
    numbers = tf.range(len(titles))[tf.newaxis]
    layout = layout_of("ranking", titles, vocabulary)
    table = layout.table
    last = table.of_items("id.", numbers[:, -1:])
    slots = {
        Slot.HISTORY: Shown(table.of_items("item;", numbers), titles=1),
        Slot.CANDIDATES: Shown(tf.concat([table.of_items("id,", numbers[:, :-1]), last], axis=1)),
        Slot.TARGET_ID: Shown(table.of_items("id", numbers[:, :1])),
    }
    text = prompts.render(
        "ranking",
        products="Amazon products",
        history=shown,
        target=shown[0],
        candidates=[item.id for item in shown],
    )
    prompt = layout.prompt
    assert layout.tokens(prompt.inputs, slots, None).to_list() == [whole(vocabulary, text.inputs)]
    assert layout.tokens(prompt.targets, slots, None).to_list() == [whole(vocabulary, text.targets)]

    layout = layout_of("rating", titles, vocabulary)
    table = layout.table
    likes = [n % 2 == 0 for n in range(len(titles))]
    phrases = table.of_items("item;", numbers)
    slots = {
        Slot.LIKED: Shown(tf.where([likes], phrases, 0), titles=1),
        Slot.DISLIKED: Shown(tf.where([likes], 0, phrases), titles=1),
        Slot.ASKED: Shown(table.of_items("item", numbers[:, -1:]), titles=1, ended=False),
    }
    text = prompts.render(
        "rating", products="Amazon products", history=shown, likes=likes, target=shown[-1]
    )
    assert layout.tokens(layout.prompt.inputs, slots, None).to_list() == [
        whole(vocabulary, text.inputs)
    ]


def test_odd_titles_in_a_small_vocabulary(vocabulary):
    check_joined_equals_whole(ODD_TITLES, vocabulary)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=40), min_size=2, max_size=6))
def test_any_titles_in_a_small_vocabulary(vocabulary, titles):
    check_joined_equals_whole(titles, vocabulary)


@pytest.fixture(scope="module")
def t5_vocabulary():
    path = shared_data() / "t5_vocab" / "sentencepiece.model"
    return seqio.SentencePieceVocabulary(str(path), extra_ids=0)


def test_odd_titles_in_t5s_vocabulary(t5_vocabulary):
    check_joined_equals_whole(ODD_TITLES, t5_vocabulary)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=40), min_size=2, max_size=6))
def test_any_titles_in_t5s_vocabulary(t5_vocabulary, titles):
    check_joined_equals_whole(titles, t5_vocabulary)
