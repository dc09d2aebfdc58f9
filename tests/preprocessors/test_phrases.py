"""Joined token ids equal the whole prompt tokenized, whatever the titles; near-ties apart."""

import types

import numpy as np
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


def words_of(vocabulary, ids):
    """Token ids grouped into words, a word starting with a piece that holds the space."""
    words = []
    for i in ids:
        if vocabulary.tokenizer.IdToPiece(i).startswith("▁") or not words:
            words.append([])
        words[-1].append(i)
    return words


def long_prompt(vocabulary, layout, numbers):
    table = layout.table
    rows = tf.constant([numbers])
    last = table.of_items("id.", rows[:, -1:])
    slots = {
        Slot.HISTORY: Shown(table.of_items("item;", rows[:, :40]), titles=1),
        Slot.CANDIDATES: Shown(tf.concat([table.of_items("id,", rows[:, :-1]), last], axis=1)),
    }
    joined = layout.tokens(layout.prompt.inputs, slots, None).to_list()[0]
    shown = [Item(f"I{n + 1}", "toy train") for n in numbers]
    text = prompts.render(
        "ranking",
        products="Amazon products",
        history=shown[:40],
        candidates=[item.id for item in shown],
    )
    return joined, whole(vocabulary, text.inputs)


def long_prompts(vocabulary, count):
    layout = layout_of("ranking", ["toy train"] * 5000, vocabulary)
    generator = np.random.default_rng(0)
    for _ in range(count):
        # I4900 and I1926 have near-ties in T5's vocabulary.
        numbers = generator.permutation([4899, 1925, *generator.choice(4899, 98, replace=False)])
        yield long_prompt(vocabulary, layout, numbers)


def test_long_prompts_in_t5s_vocabulary_differ_in_near_ties_alone(t5_vocabulary):
    score = t5_vocabulary.tokenizer.GetScore
    for joined, together in long_prompts(t5_vocabulary, 30):
        assert t5_vocabulary.decode(joined) == t5_vocabulary.decode(together)
        pairs = zip(words_of(t5_vocabulary, joined), words_of(t5_vocabulary, together), strict=True)
        for one, other in pairs:
            # Scores are about -10 a token: sums of a thousand are rounded at 0.001.
            assert abs(sum(map(score, one)) - sum(map(score, other))) < 0.01


def test_long_prompts_in_a_bpe_vocabulary_are_equal(vocabulary):
    for joined, together in long_prompts(vocabulary, 30):
        assert joined == together
