"""Joined token ids equal the whole prompt tokenized, whatever the titles; near-ties apart."""

import types

import numpy as np
import pyarrow as pa
import pytest
import seqio
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recalign import prompts
from recalign.preprocessors.layout import Layout
from recalign.preprocessors.masks import sentinels
from recalign.preprocessors.phrases import plain_text, plain_texts
from recalign.preprocessors.samples import Recipe
from recalign.preprocessors.settings import TaskSettings
from recalign.wording import Prompt
from tasks.blocks import TASKS
from tests.corpus import shared_data
from tests.rendered import Item, render

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


class StandIn(types.SimpleNamespace):
    """A dataset that is a key by its identity, as prepared ones are."""

    __hash__ = object.__hash__


def layout_of(kind, titles, vocabulary, pool=100, window=40, texts=()):
    """The layout of a kind's prompt, or of other texts with its fields, of which one is drawn."""
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
    dataset = StandIn(catalogue=catalogue)
    recipe = Recipe(kind, prompts.PROMPTS[kind], TASKS[kind]["preprocessors"], "Amazon products")
    templates = [Prompt(text).template("here") for text in texts] or recipe.templates("train")
    settings = TaskSettings(history_length=window, candidate_pool=pool)
    return Layout(templates, recipe.types, dataset, vocabulary, settings)


def items(titles):
    return [Item(f"I{n + 1}", plain_text(title)) for n, title in enumerate(titles)]


def whole(vocabulary, text):
    return [*vocabulary.encode(text), vocabulary.eos_id]


def joined(layout, feature, **fields):
    """The one row of a batch."""
    batch = {"position": tf.zeros([1], tf.int64)} | fields
    (row,) = layout.side(feature).tokens(batch, None).to_list()
    return row


def check_joined_equals_whole(titles, vocabulary):
    shown = items(titles)
    count = len(titles)
    numbers = tf.range(count)[tf.newaxis]
    layout = layout_of("ranking", titles, vocabulary, max(2, count), count)
    fields = {"history": numbers, "candidates": numbers, "target": numbers[:, 0]}
    text = render(
        "ranking",
        products="Amazon products",
        history=shown,
        target=shown[0],
        candidates=[item.id for item in shown],
    )
    assert joined(layout, "inputs", **fields) == whole(vocabulary, text.inputs)
    assert joined(layout, "targets", **fields) == whole(vocabulary, text.targets)

    layout = layout_of("rating", titles, vocabulary, window=count)
    likes = [n % 2 == 0 for n in range(count)]
    fields = {
        "liked": tf.where([likes], numbers, -1),
        "disliked": tf.where([likes], -1, numbers),
        "target": numbers[:, -1],
    }
    text = render(
        "rating", products="Amazon products", history=shown, likes=likes, target=shown[-1]
    )
    assert joined(layout, "inputs", **fields) == whole(vocabulary, text.inputs)


def test_odd_titles_in_a_small_vocabulary(vocabulary):
    check_joined_equals_whole(ODD_TITLES, vocabulary)


@settings(max_examples=60, deadline=None)
@example(["0", "\x85"])  # white space to Python, a character to SentencePiece
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
    rows = tf.constant([numbers])
    fields = {"history": rows[:, :40], "candidates": rows}
    shown = [Item(f"I{n + 1}", "toy train") for n in numbers]
    text = render(
        "ranking",
        products="Amazon products",
        history=shown[:40],
        candidates=[item.id for item in shown],
    )
    return joined(layout, "inputs", **fields), whole(vocabulary, text.inputs)


def long_prompts(vocabulary, count):
    layout = layout_of("ranking", ["toy train"] * 5000, vocabulary)
    generator = np.random.default_rng(0)
    for _ in range(count):
        # I4900 and I1926 have near-ties in T5's vocabulary.
        numbers = generator.permutation([4899, 1925, *generator.choice(4899, 98, replace=False)])
        yield long_prompt(vocabulary, layout, numbers)


def test_long_prompts_in_t5s_vocabulary_differ_in_near_ties_alone(t5_vocabulary):
    score = t5_vocabulary.tokenizer.GetScore
    for pieces, together in long_prompts(t5_vocabulary, 30):
        assert t5_vocabulary.decode(pieces) == t5_vocabulary.decode(together)
        pairs = zip(words_of(t5_vocabulary, pieces), words_of(t5_vocabulary, together), strict=True)
        for one, other in pairs:
            # Scores are about -10 a token: sums of a thousand are rounded at 0.001.
            assert abs(sum(map(score, one)) - sum(map(score, other))) < 0.01


def test_long_prompts_in_a_bpe_vocabulary_are_equal(vocabulary):
    for pieces, together in long_prompts(vocabulary, 30):
        assert pieces == together


@given(st.lists(st.text("<>extra_id01 ", max_size=30), min_size=1, max_size=3))
def test_texts_of_a_batch_lose_sentinels_as_titles_do(texts):
    found = [text.decode() for text in plain_texts(tf.constant(texts)).numpy()]
    assert found == [plain_text(text) for text in texts]
    assert plain_texts(tf.constant(["a <extra_id_7>"])).numpy() == [b"a extra_id_7"]


def test_a_title_that_looks_like_a_sentinel_is_text(vocabulary, t5_vocabulary):
    titles = ["Cable <extra_id_0> of 2 m", "<extra_id_99> plug"]
    numbers = tf.range(2)[tf.newaxis]
    for its in (vocabulary, t5_vocabulary):
        first, count = sentinels(its)
        layout = layout_of("bpr", titles, its, window=2)
        fields = {"history": numbers, "choices": numbers, "target": numbers[:, 0]}
        for feature in ("inputs", "targets"):
            tokens = joined(layout, feature, **fields)
            assert not {first - n for n in range(count)} & set(tokens)
            assert "extra" in its.decode(tokens)


def test_a_template_among_others_is_cut_as_by_itself(vocabulary):
    titles = ["A wooden dragon castle puzzle for the whole family " * 2, "Yo-yo"]
    texts = ["Is {target:items} good?", "Is {target} as good as one says?", "{target:items}"]
    numbers, drawn = np.mgrid[:2, :3].reshape(2, -1)
    fields = {"position": tf.zeros(6, tf.int64), "target": tf.constant(numbers)}
    together = layout_of("retrieval", titles, vocabulary, texts=texts).inputs
    shown = together.tokens(fields | {"drawn_template": tf.constant(drawn)}, 24).to_list()
    for template, text in enumerate(texts):
        alone = layout_of("retrieval", titles, vocabulary, texts=[text]).inputs
        expected = alone.tokens(fields, 24).to_list()
        assert [shown[n] for n in np.flatnonzero(drawn == template)] == [
            expected[n] for n in np.flatnonzero(drawn == template)
        ]
