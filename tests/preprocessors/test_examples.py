"""Whole samples: what each task shows, and that prompts keep what they must at any length."""

import re

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from recalign.errors import UserError
from recalign.prompts import PROMPTS
from tests.corpus import make_corpus
from tests.rendered import Item, render

ITEM = r"Item ID: (I\d+), Title: ([^;]*);"
QUESTIONS = {
    "retrieval": "What would the user buy next?",
    "ranking": "Which of the following candidate items would you recommend the user to buy next? "
    "Candidate items are:",
    "rating": "Predict whether the user would like the following item. Answer yes or no.",
    "mim": "What are the masked items, in chronological order?",
    "bpr": "Which of the following two items would the user buy next?",
    "ie": " of I",
}


def examples_of(request, count=None, seed=0):
    samples = request.samples(seed)
    positions = tf.range(count or len(samples), dtype=tf.int64)
    features = samples(positions % len(samples), positions)
    rows = {
        name: value.to_list() if isinstance(value, tf.RaggedTensor) else value.numpy()
        for name, value in features.items()
    }
    return [{k: v[n] for k, v in rows.items()} for n in range(len(positions))]


def text_of(vocabulary, ids):
    assert ids[-1] == vocabulary.eos_id and vocabulary.eos_id not in ids[:-1]
    return vocabulary.decode(ids)


def item(dataset, index):
    return Item(dataset.catalogue.ids[index], dataset.catalogue.titles[index])


@pytest.mark.parametrize(
    "kind", ["retrieval", "ranking", "rating", "mim", "bpr", "tiger", "tiger_rating"]
)
def test_tokens_are_those_of_the_rendered_sample(kind, request_of, corpus, vocabulary):
    sequences = corpus.sequences("train")
    request = request_of(kind)
    for example in examples_of(request)[:50]:
        history = [item(corpus, i) for i in example["history"]]
        arguments = {"history": history}
        if kind != "mim":
            arguments["target"] = item(corpus, example["target"])
        if kind == "ranking":
            arguments["candidates"] = [corpus.catalogue.ids[i] for i in example["candidates"]]
        if kind in ("rating", "tiger_rating"):
            record = slice(*sequences.row_splits[example["row"] : example["row"] + 2])
            rating = dict(zip(sequences.items[record], sequences.ratings[record], strict=True))
            arguments["likes"] = [bool(rating[i] > 3) for i in example["history"]]
            arguments["liked"] = bool(rating[example["target"]] > 3)
            assert example["label"] == arguments["liked"]
        text = text_of(vocabulary, example["inputs"])
        if kind == "bpr":
            question = text.index(QUESTIONS["bpr"])
            ids = re.findall(r"Item ID: (I\d+)", text[question:])
            assert len(ids) == 2 and arguments["target"].id in ids
            arguments["choices"] = [item(corpus, corpus.catalogue.index_of(i)) for i in ids]
        if kind == "mim":
            shown = text[text.index("recent): ") + 9 : text.index(" What are")].split("; ")
            arguments["masked"] = [n for n, part in enumerate(shown) if "[masked item]" in part]
        expected = render(kind, products="products", **arguments)
        assert example["inputs"] == [*vocabulary.encode(expected.inputs), 1]
        assert example["targets"] == [*vocabulary.encode(expected.targets), 1]


def test_masked_items_put_back_give_the_history(request_of, vocabulary):
    for example in examples_of(request_of("mim", history_length=10)):
        shown = text_of(vocabulary, example["inputs"])
        answers = re.findall(ITEM, text_of(vocabulary, example["targets"]))
        assert len(answers) == max(1, int(len(example["history"]) * 0.2 + 0.5))
        for id_, title in answers:
            shown = shown.replace("[masked item];", f"Item ID: {id_}, Title: {title};", 1)
        assert [int(i[1:]) - 1 for i, _ in re.findall(ITEM, shown)] == example["history"]


def test_item_content_asks_for_every_known_field_of_every_item(request_of, corpus, vocabulary):
    pairs = {
        (text_of(vocabulary, e["inputs"]), text_of(vocabulary, e["targets"]))
        for e in examples_of(request_of("ie"))
    }
    brands = [bool(b) for b in corpus.catalogue.table["brand"].to_pylist()]
    assert len(pairs) == 4 * len(brands) + sum(brands)
    assert ("What's the price of I1?", "$3.50") in pairs
    assert ("What are the categories of I2?", "Toys, Games") in pairs
    assert ("What's the title of I3?", corpus.catalogue.titles[2]) in pairs


def test_content_longer_than_the_targets_is_cut(request_of, vocabulary):
    lengths = {len(e["targets"]) for e in examples_of(request_of("ie", targets=12))}
    assert max(lengths) == 12


def test_pools_hold_the_target_once_at_a_uniform_position(request_of, corpus):
    examples = examples_of(request_of("ranking"), count=10_000)
    places = []
    for example in examples:
        pool = example["candidates"].tolist()
        assert len(set(pool)) == 8
        places.append(pool.index(example["target"]))
    assert stats.chisquare(np.bincount(places, minlength=8)).pvalue > 1e-4


def test_the_two_items_of_bpr_come_in_either_order(request_of, vocabulary):
    examples = examples_of(request_of("bpr"), count=2000)
    first = [
        text_of(vocabulary, e["inputs"]).endswith(text_of(vocabulary, e["targets"]))
        for e in examples
    ]
    assert 0.45 < np.mean(first) < 0.55


LONG = "An extraordinarily long title about a wooden dragon castle puzzle for the whole family " * 2


@pytest.fixture(scope="module")
def long_titles(tmp_path_factory):
    letters = "abcdefghijklmnopqrst"
    sequences = ["abcdefgh", "hgijklmnab", "qrstabmn", "opqrsta"]
    ratings = [[n % 5 + 1 for n in range(len(s))] for s in sequences]
    titles = {c: LONG if n % 3 == 0 else f"Toy {c}" for n, c in enumerate(letters)}
    return make_corpus(
        "long", tmp_path_factory.mktemp("data"), sequences=sequences, ratings=ratings,
        item_titles=titles,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["retrieval", "ranking", "rating", "mim", "bpr", "ie"])
def test_no_prompt_loses_its_question_or_a_candidate_at_any_length(
    kind, request_of, long_titles, vocabulary, least_lengths
):
    def request(**lengths):
        return request_of(kind, dataset=long_titles, candidate_pool=5, **lengths)

    least = least_lengths(lambda **lengths: request(**lengths).samples())
    whole = max(len(e["inputs"]) for e in examples_of(request()))
    for inputs in [
        *range(least["inputs"], least["inputs"] + 10),
        *range(least["inputs"], whole, 29),
    ]:
        targets = least["targets"] + inputs % 7
        for example in examples_of(request(inputs=inputs, targets=targets)):
            assert len(example["inputs"]) <= inputs
            assert len(example["targets"]) <= targets
            text = text_of(vocabulary, example["inputs"])
            answer = text_of(vocabulary, example["targets"])
            assert QUESTIONS[kind] in text
            assert answer
            if kind != "ie":
                assert len(example["history"]) >= 1
            ids = re.findall(r"I\d+", text.split(QUESTIONS[kind])[-1])
            catalogue = long_titles.catalogue.ids
            if kind == "ranking":
                assert ids == [catalogue[i] for i in example["candidates"]]
                assert text.endswith(".")
            if kind in ("rating", "bpr"):
                assert catalogue[example["target"]] in ids
            if kind == "mim":
                masks = text.count("[masked item];")
                assert masks == len(re.findall(ITEM, answer)) >= 1
            if kind in ("retrieval", "ranking", "bpr"):
                history = text.split(QUESTIONS[kind])[0]
                assert [int(i[1:]) - 1 for i in re.findall(r"I\d+", history)] == example["history"]


@pytest.mark.parametrize(("kind", "inputs"), [("retrieval", 60), ("tiger", 8)])
def test_old_items_leave_first_and_only_as_many_as_needed(
    kind, inputs, request_of, vocabulary, corpus
):
    whole = examples_of(request_of(kind))
    fitted = examples_of(request_of(kind, inputs=inputs))
    dropped = 0
    for before, after in zip(whole, fitted, strict=True):
        kept = len(after["history"])
        assert after["history"] == before["history"][len(before["history"]) - kept :]
        if kept < len(before["history"]):
            dropped += 1
            one_more = before["history"][len(before["history"]) - kept - 1 :]
            text = render(kind, history=[item(corpus, i) for i in one_more]).inputs
            assert len(vocabulary.encode(text)) + 1 > inputs
    assert dropped > 10


def test_titles_are_cut_between_words_and_keep_a_semicolon(request_of, long_titles, vocabulary):
    request = request_of("retrieval", dataset=long_titles, history_length=1, inputs=70)
    cut = 0
    for example in examples_of(request):
        text = text_of(vocabulary, example["inputs"])
        assert example["inputs"] == [*vocabulary.encode(text), 1], "cut prompts are joined too"
        title = re.search(r"Title: ([^;]*);", text)[1]
        if title.endswith(" "):
            cut += 1
            assert LONG.startswith(title)
            assert len(example["inputs"]) > 55
    assert cut


def test_text_corruption_fits_and_shows_the_latest_items(request_of, vocabulary, corpus):
    for inputs, targets in ((40, 20), (80, 18), (200, 100)):
        for example in examples_of(request_of("mlm", inputs=inputs, targets=targets)):
            assert len(example["inputs"]) <= inputs
            assert len(example["targets"]) <= targets


def test_too_short_lengths_name_what_is_needed(request_of):
    with pytest.raises(UserError, match=r"ranking_small: 20 tokens of inputs are too few: \d+ are"):
        request_of("ranking", inputs=20).samples()
    with pytest.raises(
        UserError, match=r"longest pool of 8 .*, or a smaller TaskSettings\.candida"
    ):
        request_of("ranking", inputs=20).samples()
    with pytest.raises(UserError, match="mlm_small: 5 tokens of inputs and 9 of targets"):
        request_of("mlm", inputs=5, targets=9).samples()


def test_ratings_that_the_log_lacks_are_a_users_error(request_of, tmp_path):
    dataset = make_corpus("plain", tmp_path, sequences=["abcdef", "bcdefg"])
    with pytest.raises(UserError, match="has no ratings"):
        request_of("rating", dataset=dataset).samples()


def test_held_out_interactions_change_no_training_sample(request_of, tmp_path):
    """The same training parts with other held-out items give the same samples of every task.

    A user's held-out items are kept out of the user's negatives (paper, Algorithm 1), so for the
    tasks with negatives they only change places.
    """
    parts = ["abcdefg", "gfhaec", "bdhgacf", "efab"]
    ends = [["hi", "bd", "ij", "cd"], ["ih", "db", "ji", "dc"], ["ih", "dj", "ei", "dc"]]
    made = []
    for number, tails in enumerate(ends):
        sequences = [p + t for p, t in zip(parts, tails, strict=True)]
        ratings = [[n % 5 + 1 for n in range(len(s))] for s in sequences]
        made.append(
            make_corpus(
                "same",
                tmp_path / str(number),
                sequences=sequences,
                ratings=ratings,
                item_titles={c: f"Toy {c}" for c in "abcdefghij"},
                content=True,
            )
        )
    first, exchanged, others = made
    assert first.catalogue.ids == exchanged.catalogue.ids == others.catalogue.ids
    assert first.catalogue.raw_ids == exchanged.catalogue.raw_ids == others.catalogue.raw_ids
    for kind in PROMPTS:
        second = exchanged if kind in ("ranking", "bpr") else others
        samples = [
            examples_of(request_of(kind, dataset=dataset, candidate_pool=2))
            for dataset in (first, second)
        ]
        for one, other in zip(*samples, strict=True):
            assert {k: np.asarray(v).tolist() for k, v in one.items()} == {
                k: np.asarray(v).tolist() for k, v in other.items()
            }
