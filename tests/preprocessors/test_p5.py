"""P5's families: what each template shows, and that prompts keep what they must at any length."""

import collections
import dataclasses
import json
import re

import gin
import numpy as np
import pytest
import tensorflow as tf

from recalign.data.explanations import explained_places
from recalign.data.splits import SPLITS
from recalign.data.statistics import dataset_statistics
from recalign.errors import UserError
from recalign.preprocessors.families import all_templates, template_of, templates_file
from recalign.prompts import P5 as WORDING
from recalign.wording import Field, Words
from recalign.wording import split as split_sentence
from tasks.blocks import TASKS
from tests.corpus import random_sequences, reviewed_corpus

KINDS_OF_P5 = [kind for kind in TASKS if kind.startswith("p5_")]
FAMILIES = {kind: TASKS[kind]["prompt"].number for kind in KINDS_OF_P5 if kind != "p5_2_7"}
EVALUATED = {
    kind: TASKS[kind]["prompt"].evaluated for kind in KINDS_OF_P5 if "evaluated_as" in TASKS[kind]
}


@pytest.fixture(autouse=True)
def clean_gin():
    gin.clear_config()
    yield
    gin.clear_config()


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory):
    return reviewed_corpus(tmp_path_factory.mktemp("data"), random_sequences(0, 40, 40, 12))


def examples_of(request, count=None, seed=0):
    samples = request.samples(seed)
    positions = tf.range(count or len(samples), dtype=tf.int64)
    features = samples(positions % len(samples), positions)
    rows = {
        name: value.to_list() if isinstance(value, tf.RaggedTensor) else value.numpy()
        for name, value in features.items()
    }
    return [{k: v[n] for k, v in rows.items()} for n in range(len(positions))]


def number_of(example):
    return f"{example['template'] // 100}-{example['template'] % 100}"


def test_the_templates_are_p5s():
    counts = collections.Counter(number.split("-")[0] for number in WORDING)
    assert counts == {"1": 10, "2": 13, "3": 12, "4": 4, "5": 8}
    assert len({words for words, _ in WORDING.values()}) == len(WORDING)
    assert EVALUATED == {
        "p5_rating": "1-4", "p5_sequential": "2-1", "p5_2_7": "2-7", "p5_direct": "5-5",
    }  # fmt: skip


def test_a_wording_is_split_at_spaces_and_fields():
    assert split_sentence('After "{user_id}": {history}, {{x}}  what?', "here") == (
        Words("After"),
        Field("user_id", "", '"', '":'),
        Field("history", suffix=","),
        Words("{x} what?"),
    )
    (subject,) = split_sentence("Does {subject} like {products}?", "here", "films")
    assert subject.variants == ("Does A user like films?", "Does The user like films?")
    template = template_of("2-3", "After {history}, what would {user_id} buy?", "{item_id}", "here")
    assert template.number == 203
    assert template.inputs[0][1] == Field("history", "list", suffix=",")
    assert template.targets == ((Field("target", "ids"),),)


def values_of(dataset, example):
    """Field -> the texts that it may show, by the records alone; the first is the truth."""
    sequences, catalogue = dataset.sequences("train"), dataset.catalogue
    row, target = int(example["row"]), int(example["target"])
    record = slice(*sequences.row_splits[row : row + 2])
    items = sequences.items[record].tolist()
    assert target in items
    place = record.start + items.index(target)
    others = [i for i in range(len(catalogue.ids)) if i not in items]
    stars = sorted(set(sequences.ratings.tolist()))
    rating = float(sequences.ratings[place])
    reviews = dataset.reviews("train")
    places, found = explained_places(reviews)
    at = np.flatnonzero(places == place)
    values = {
        "user_id": [f"user_{row + 1}"],
        "user_name": [f"user{row}"],
        "item_id": [catalogue.ids[i] for i in [target, *others]],
        "item_title": [catalogue.titles[i] for i in [target, *others]],
        "star_rating": [f"{s:g}" for s in [rating, *(s for s in stars if s != rating)]],
        "history": [", ".join(catalogue.ids[i] for i in example["history"])],
        "headline": [reviews.summaries[place].as_py()],
        "review": [reviews.texts[place].as_py()],
        "like_dislike": ["like" if rating > 3 else "dislike"],
        "explanation": [found.sentences[at[0]].as_py()] if len(at) else [],
        "feature": [found.features[at[0]].as_py()] if len(at) else [],
    }
    return values


@pytest.mark.parametrize("kind", FAMILIES)
def test_every_train_sample_shows_the_training_part_by_its_template(
    kind, request_of, reviewed, vocabulary
):
    examples = examples_of(request_of(kind, dataset=reviewed), count=400)
    numbers = collections.Counter(map(number_of, examples))
    assert set(numbers) == {n for n in WORDING if n.startswith(f"{FAMILIES[kind]}-")}
    answers = collections.Counter()
    for example in examples[:: 1 if kind == "p5_sequential" else 2]:
        inputs, targets = WORDING[number_of(example)]
        text = vocabulary.decode(example["inputs"])
        values = values_of(reviewed, example)
        says_no = "yes_no" in targets and vocabulary.decode(example["targets"]) == "no"
        answers[says_no] += "yes_no" in targets
        asked = "star_rating" if "star_rating" in inputs else None
        asked = asked or ("item_id" if "item_id" in inputs else "item_title")
        values["yes_no"] = ["no" if says_no else "yes"]
        if "{candidates}" in inputs:
            ids = re.findall(r"\bI\d+", text)
            pool = [i for i in ids if i not in values["history"][0].split(", ")]
            assert len(set(pool)) == len(pool) == 8 and pool.count(values["item_id"][0]) == 1
            assert set(pool) <= set(values["item_id"])
            values["candidates"] = [", ".join(pool)]
        shown = {name: options[0] for name, options in values.items() if options}
        possible = [shown | {asked: v} for v in values[asked][1:]] if says_no else [shown]
        encoded = [[*vocabulary.encode(inputs.format(**p)), 1] for p in possible]
        assert example["inputs"] in encoded, text
        assert example["targets"] == [*vocabulary.encode(targets.format(**shown)), 1]
    if answers[True] + answers[False] > 40:
        assert 0.25 < answers[True] / sum(answers.values()) < 0.75


def test_positions_alone_choose_templates(request_of, reviewed):
    request = request_of("p5_rating", dataset=reviewed)
    size = len(request.samples())
    twice = examples_of(request, count=2 * size)
    first, second = (
        [e["template"] for e in twice[part]] for part in (slice(size), slice(size, None))
    )
    assert first == [e["template"] for e in examples_of(request)]
    assert 0.05 < np.mean(np.array(first) == second) < 0.2
    assert first != [e["template"] for e in examples_of(request, seed=1)]


@pytest.mark.parametrize("kind", EVALUATED)
def test_held_out_samples_are_those_of_the_papers_tasks(kind, request_of, reviewed, vocabulary):
    plain = TASKS[kind]["evaluated_as"]
    for split in ("validation", "test"):
        examples = examples_of(request_of(kind, split, dataset=reviewed))
        assert {number_of(e) for e in examples} == {EVALUATED[kind]}
        for example, other in zip(
            examples, examples_of(request_of(plain, split, dataset=reviewed)), strict=True
        ):
            assert (example["row"], example["target"]) == (other["row"], other["target"])
            if kind != "p5_direct" and kind != "p5_rating":
                assert example["history"] == other["history"]
            if plain == "rating":
                assert example["label"] == other["label"]
                answer = "like" if example["label"] else "dislike"
                assert vocabulary.decode(example["targets"]) == answer
            if plain == "ranking":
                assert example["candidates"].tolist() == other["candidates"].tolist()
                ids = re.findall(r"\bI\d+", vocabulary.decode(example["inputs"]))
                assert [reviewed.catalogue.ids[i] for i in example["candidates"]] in (
                    ids[-8:], ids[:8],
                )  # fmt: skip


@pytest.fixture(scope="module")
def long_reviews(tmp_path_factory):
    sequences = random_sequences(3, 12, 30, 9)
    return reviewed_corpus(tmp_path_factory.mktemp("data"), sequences, long_reviews=True)


@pytest.mark.parametrize("kind", FAMILIES)
def test_no_prompt_loses_its_words_or_a_candidate_at_any_length(
    kind, request_of, long_reviews, vocabulary, least_lengths
):
    def request(**lengths):
        return request_of(kind, dataset=long_reviews, **lengths)

    least = least_lengths(lambda **lengths: request(**lengths).samples())
    whole = examples_of(request(), count=60)
    longest = max(len(e["inputs"]) for e in whole)
    templates = all_templates(None)
    for inputs in [*range(least["inputs"], least["inputs"] + 4), (least["inputs"] + longest) // 2]:
        targets = least["targets"] + inputs % 7
        fitted = examples_of(request(inputs=inputs, targets=targets), count=60)
        for example, full in zip(fitted, whole, strict=True):
            assert len(example["inputs"]) <= inputs and example["inputs"][-1] == 1
            assert 1 < len(example["targets"]) <= targets and example["targets"][-1] == 1
            if len(full["inputs"]) <= inputs:
                assert example["inputs"] == full["inputs"]
            text = vocabulary.decode(example["inputs"])
            template = templates[number_of(example)]
            place = 0
            for part in template.inputs[0]:
                if isinstance(part, Words):
                    words = vocabulary.decode(vocabulary.encode(part.text))
                    assert words in text[place:], (text, words)
                    place += text[place:].index(words) + len(words)
            kept = [long_reviews.catalogue.ids[i] for i in example["history"]]
            before = [long_reviews.catalogue.ids[i] for i in full["history"]]
            assert kept == before[len(before) - len(kept) :]
            ids = re.findall(r"\bI\d+", text)
            full_ids = re.findall(r"\bI\d+", vocabulary.decode(full["inputs"]))
            assert ids == [*kept, *full_ids[len(before) :]]


def test_statistics_count_what_the_tasks_have(request_of, reviewed):
    counted = dataset_statistics(reviewed, history_length=5)
    assert "omitted" not in counted
    for kind in FAMILIES:
        for split in SPLITS if kind in EVALUATED else ("train",):
            samples = request_of(kind, split, dataset=reviewed).samples()
            assert counted["samples"][kind][split] == len(samples)


def test_too_short_lengths_name_what_is_needed(request_of, reviewed):
    with pytest.raises(UserError, match=r"p5_direct_small: 20 tokens of inputs are too few: \d+"):
        request_of("p5_direct", dataset=reviewed, inputs=20).samples()


def test_held_out_interactions_change_no_training_sample(request_of, tmp_path):
    """The same training parts with other held-out items and reviews give the same samples.

    The held-out items are exchanged within a user, who keeps the same negatives.
    """
    parts = ["abcdefg", "gfhaec", "bdhgacf", "efab"]
    ends = [["hi", "bd", "ij", "cd"], ["ih", "db", "ji", "dc"]]
    first, second = (
        reviewed_corpus(tmp_path / str(n), [p + t for p, t in zip(parts, tails, strict=True)])
        for n, tails in enumerate(ends)
    )
    assert first.reviews("test").texts != second.reviews("test").texts
    for kind in FAMILIES:
        samples = [
            examples_of(request_of(kind, dataset=dataset, candidate_pool=2), count=60)
            for dataset in (first, second)
        ]
        for one, other in zip(*samples, strict=True):
            assert {k: np.asarray(v).tolist() for k, v in one.items()} == {
                k: np.asarray(v).tolist() for k, v in other.items()
            }


def test_what_the_log_lacks_leaves_templates_or_tasks_out(request_of, corpus, tmp_path):
    for kind in ("p5_explanation", "p5_review"):
        with pytest.raises(UserError, match=rf"{kind}_small: .* has no review texts.*--review_te"):
            request_of(kind).samples()
    sequences = random_sequences(5, 10, 12, 8)
    with_ratings = reviewed_corpus(tmp_path, sequences)
    without = dataclasses.replace(
        with_ratings, info=with_ratings.info | {"has_ratings": False, "ratings": None}
    )
    with pytest.raises(UserError, match="has no ratings"):
        request_of("p5_rating", dataset=without).samples()
    numbers = {
        kind: {
            number_of(e)
            for e in examples_of(request_of(kind, dataset=without, candidate_pool=3), count=200)
        }
        for kind in ("p5_explanation", "p5_review", "p5_direct")
    }
    assert numbers["p5_review"] == {"4-1", "4-3"}
    assert numbers["p5_explanation"] == {"3-1", "3-2", "3-4", "3-5", "3-9", "3-10"}
    assert len(numbers["p5_direct"]) == 8


def test_a_file_of_ones_own_replaces_words(request_of, reviewed, vocabulary, tmp_path):
    file = tmp_path / "words.json"
    file.write_text(json.dumps({
        "2-1": {"inputs": "Next for {user_id} with ( {history})?",
                "targets": "{item_id}"},
    }))  # fmt: skip
    gin.parse_config(f"p5_templates.file = {str(file)!r}")
    example = examples_of(request_of("p5_sequential", "test", dataset=reviewed))[0]
    ids = ", ".join(reviewed.catalogue.ids[i] for i in example["history"])
    assert example["inputs"] == [*vocabulary.encode(f"Next for user_1 with ( {ids})?"), 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"words.json: .*line 1"),
        ("[]", r"words.json: \{number"),
        ("[" * 100_000, r"words.json: maximum recursion depth"),
        ('{"2-1": {"inputs": "\\ud800", "targets": ""}}', r"words.json: .* surrogates not allowed"),
        ('{"2-14": {}}', r"words.json: there is no template 2-14; P5 has 1-1 to 1-10, 2-1 to 2-13"),
        ('{"2-1": {"inputs": "x"}}', r"words.json: template 2-1: .* is needed"),
        ('{"2-1": {}, "2-1": {}}', r"words.json: '2-1' stands twice"),
        ({"inputs": "{user_id}", "targets": "{item_id}"},
         r"template 2-1, inputs: \{history\} is missing; it shows \{user_id\}, \{history\}"),
        ({"inputs": "{user_id} {hstory}", "targets": "{item_id}"}, r"\{hstory\} is no field"),
        ({"inputs": "{user_id} {history} {review}", "targets": "{item_id}"},
         r"\{review\} is not one of its fields"),
        ({"inputs": "{user_id} {history} {history}", "targets": "{item_id}"}, "stands twice"),
        ({"inputs": "{user_id}{history}", "targets": "{item_id}"}, "a space is needed after"),
        ({"inputs": "{user_id} ({history})", "targets": "{item_id}"}, r"'\(' before \{history\}"),
        ({"inputs": "{user_id} {history} {", "targets": "{item_id}"}, "template 2-1, inputs: "),
        ({"inputs": "{user_id} {history}", "targets": "Item {item_id}"},
         r"template 2-1, targets: the answer is evaluated, so it is \{item_id\} alone"),
    ],
)  # fmt: skip
def test_mistakes_in_a_file_are_one_line(content, message, tmp_path):
    file = tmp_path / "words.json"
    file.write_text(content if isinstance(content, str) else json.dumps({"2-1": content}))
    with pytest.raises(UserError, match=message) as caught:
        all_templates(str(file))
    assert "words.json" in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere.json"):
        all_templates(str(tmp_path / "nowhere.json"))


def test_the_name_of_a_file_is_a_name():
    gin.parse_config("p5_templates.file = 5")
    with pytest.raises(UserError, match=r"p5_templates.file = 5: the name of a JSON file is neede"):
        templates_file()
