"""What T5X is told of a mixture; these need no T5X."""

import pytest
import seqio
import tensorflow as tf

from recalign.errors import UserError
from recalign.t5x.answers import ANSWERS, AnswerFeatureConverter
from recalign.t5x.mixture import answers_by_number, decode_lengths, registered, vocabulary
from recalign.trainer.experiment import load_experiment

from .conftest import FILES, TINY

LENGTHS = {"inputs": 96, "targets": 24}


def longest_id(dataset: str) -> int:
    task = seqio.get_mixture_or_task(f"retrieval_{dataset}")
    encode = task.output_features["targets"].vocabulary.encode
    return max(len(encode(item)) for item in task.source.open().catalogue.ids)


def test_decoding_ends_at_the_longest_answer(experiment):
    experiment()
    with_eos = longest_id("tiny") + 1
    assert decode_lengths("ut_at_tiny", LENGTHS) == {"inputs": 96, "targets": with_eos}
    assert decode_lengths("rating_tiny", LENGTHS)["targets"] <= with_eos
    assert decode_lengths("ut_at_tiny", {"inputs": 96, "targets": 2})["targets"] == 2


def test_a_task_without_metrics_keeps_its_lengths(experiment):
    experiment()
    assert decode_lengths("mlm_tiny", LENGTHS) == LENGTHS


@pytest.mark.parametrize(
    "name, words", [("ut_at_tiny", ("no", "yes")), ("p5_tiny", ("dislike", "like"))]
)
def test_words_of_rating_tasks_are_numbered_before_items(experiment, name, words):
    experiment()
    answers = answers_by_number(registered(name))
    ids = seqio.get_mixture_or_task("retrieval_tiny").source.open().catalogue.ids
    assert answers == (*words, *ids)


@pytest.mark.parametrize(
    "tasks_of_it, said",
    [
        (["rating_tiny", "p5_rating_tiny"], "one pair of answers.* dislike/like, no/yes"),
        (["mim_tiny"], "one catalogue.* none with answers"),
    ],
)
def test_answers_that_cannot_be_numbered(experiment, tasks_of_it, said):
    experiment()
    mixture = seqio.Mixture("of_its_own", tasks_of_it, default_rate=1.0)
    with pytest.raises(UserError, match=said):
        answers_by_number(mixture)


def test_the_vocabulary_is_the_datasets(experiment):
    experiment()
    task = seqio.get_mixture_or_task("ranking_tiny")
    assert vocabulary("ut_at_tiny") == task.output_features["inputs"].vocabulary


def test_a_module_that_is_not_there(experiment):
    experiment()
    with pytest.raises(UserError, match="MIXTURE_OR_TASK_MODULE = 'nowhere'"):
        vocabulary("ut_at_tiny", "nowhere")


@pytest.mark.parametrize(
    "features, answers",
    [
        ({"candidates": tf.constant([3, 0], tf.int32)}, [5, 2, -1, -1, -1]),
        ({"label": tf.constant(1)}, [0, 1, -1, -1, -1]),
        ({}, [-1, -1, -1, -1, -1]),
    ],
)
def test_answers_by_number(experiment, features, answers):
    experiment()  # binds a pool of 5
    tokens = {"inputs": tf.constant([7, 1]), "targets": tf.constant([8, 1])}
    dataset = tf.data.Dataset.from_tensors({**tokens, **features})
    converted = AnswerFeatureConverter()(dataset, {"inputs": 4, "targets": 3})
    (example,) = converted.as_numpy_iterator()
    assert example[ANSWERS].tolist() == answers
    assert example["decoder_input_tokens"].tolist() == [0, 8, 1]


def test_answers_cannot_be_packed():
    with pytest.raises(UserError, match="pack = False"):
        AnswerFeatureConverter(pack=True)


@pytest.mark.parametrize(
    "file, constrained",
    [("gin/runs/fast_decoding.gin", False), ("gin/runs/constrained_decoding.gin", True)],
)
def test_the_own_engine_reads_the_decoders_files(file, constrained):
    bindings = [f"{name} = {value!r}" for name, value in {**TINY, "MODEL_DIR": "x"}.items()]
    assert load_experiment([*FILES, file], bindings).constrained is constrained
