"""What is wrong with a task is one line when it is registered: task, field, and what there is."""

import pytest
import tensorflow as tf

import tasks
from recalign.errors import UserError
from recalign.preprocessors import fields, negatives, pools, rendering, windows
from recalign.preprocessors.preprocessor import preprocessor
from recalign.preprocessors.samples import Recipe, Samples
from recalign.wording import Prompt
from tasks.blocks import TASKS

ENDS = [rendering.render(), rendering.keep_features("target")]


def task_of(kind, prompt, **changes):
    return tasks.task_of(kind, "nowhere", **{**TASKS[kind], "prompt": prompt, **changes})


@pytest.mark.parametrize(
    ("kind", "prompt", "message"),
    [
        ("retrieval", Prompt("{histroy} What next?", "{target}"),
         r"retrieval_nowhere, inputs: \{histroy\} is no field .* there are .*\{history\}.*\{targ"),
        ("retrieval", Prompt("{history} Of {candidates}?", "{target}"),
         r"\{candidates\} is no field that its preprocessors make \(shuffled_pool\(\) would\)"),
        ("retrieval", Prompt('{history} Answer as {"json": 1}', "{target}"),
         r'retrieval_nowhere, inputs: \{"json"\} is no field .* brace of one\'s own is written tw'),
        ("retrieval", Prompt("{history} {", "{target}"),
         r"retrieval_nowhere, inputs: .* in '\{history\} \{': a brace of one's own is written twi"),
        ("retrieval", Prompt("{history:titles} What?", "{target}"),
         r"\{history:titles\} is no form of 'history'; there are \{history:items\}, \{history:ids"),
        ("retrieval", Prompt("{history}{target}", "{target}"), r"a space is needed after \{histo"),
        ("retrieval", Prompt("{subject}{history} What?", "{target}"),
         r"a space is needed between \{subject\} and \{history\}"),
        ("retrieval", Prompt("{history}. What next?", "{target}"),
         r"'\.' after \{history\} needs a space before it"),
        ("retrieval", Prompt("{history} What next?", "{target:title}"),
         r"evaluated as retrieval, so its targets are the target's ID alone, .*target:title"),
        ("retrieval", Prompt("{history} What next?", "Item {target}"), "alone, .* with words"),
        ("ranking", Prompt("{history} Of {candidates}.", "{target:items}"), "evaluated as ranking"),
        ("rating", Prompt("{history} Does it? {target:item}", "{target}"),
         r"evaluated as rating, so its targets are one of two words alone, such as \{label\}"),
        ("mim", Prompt("{masked_history:title} What?", "{masked}"), "there are .masked_history:it"),
    ],
)  # fmt: skip
def test_wrong_words_are_one_line(kind, prompt, message):
    with pytest.raises(UserError, match=message) as caught:
        task_of(kind, prompt)
    assert "\n" not in str(caught.value)


def test_preprocessors_come_after_what_they_need():
    steps = [windows.next_item_windows(), pools.shuffled_pool(), negatives.negatives(), *ENDS]
    with pytest.raises(
        UserError,
        match=r"needs the field 'negatives', which no preprocessor before it makes \(negatives\(\)",
    ):
        task_of("retrieval", TASKS["retrieval"]["prompt"], preprocessors=steps)
    with pytest.raises(UserError, match="recalign's preprocessors come first"):
        task_of("retrieval", TASKS["retrieval"]["prompt"], preprocessors=[print, *ENDS])
    with pytest.raises(UserError, match="evaluated_as is 'guessing'; there are retrieval, ranking"):
        task_of("retrieval", TASKS["retrieval"]["prompt"], evaluated_as="guessing")


def test_the_first_preprocessor_says_how_many_samples_there_are(request_of):
    @preprocessor(makes={"history": fields.window(), "row": fields.ROW, "target": fields.items()})
    def nothing(context):
        return lambda batch: batch

    prompt = Prompt("{history:ids} What next?", "{target}")
    recipe = Recipe("own_small", prompt, [nothing(), *ENDS])
    with pytest.raises(UserError, match=r"own_small: nothing\(\) comes first, so .* an Epoch"):
        Samples(recipe, **request_of("retrieval").arguments)


def test_what_is_evaluated_keeps_what_its_metrics_read():
    steps = [*TASKS["ranking"]["preprocessors"][:-1], rendering.keep_features("target")]
    with pytest.raises(UserError, match="ranking_nowhere: .* keep_features.* 'candidates'"):
        task_of("ranking", TASKS["ranking"]["prompt"], preprocessors=steps)


def test_a_pool_that_the_catalogue_cannot_fill_names_the_task(request_of):
    with pytest.raises(
        UserError, match=r"ranking_small: dataset 'small': 98 negatives .*candidate_pool to at mo"
    ):
        request_of("ranking", candidate_pool=99).samples()


@pytest.mark.parametrize(
    ("kind", "prompt", "shown"),
    [
        ("rating", Prompt("{history:list}. Does {target:ids} suit?", "{label}"), 5),
        ("mim", Prompt("{masked_history:ids} What was it?", "{masked:ids}"), 5),
        ("retrieval", Prompt("As {{json}}: {history:ids}", "{target}"), 5),
    ],
)
def test_fields_may_stand_in_prompts_of_any_task(kind, prompt, shown, request_of, vocabulary):
    """A history in a rating prompt, IDs in MIM, and braces of one's own."""
    recipe = Recipe(kind, prompt, TASKS[kind]["preprocessors"])
    samples = Samples(recipe, **request_of(kind).arguments)
    numbers = tf.range(40, dtype=tf.int64)
    found = samples(numbers, numbers)
    texts = [vocabulary.decode(row) for row in found["inputs"].to_list()]
    for text, history in zip(texts, found["history"].to_list(), strict=True):
        assert 1 <= len(history) <= shown
        if kind == "mim":
            assert text.count("[masked item]") == 1 and text.endswith("What was it?")
        else:
            assert all(f"I{item + 1}" in text for item in history)
    if kind == "retrieval":
        assert all("json" in text for text in texts)
