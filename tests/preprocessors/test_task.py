"""The stream of a task: the same on any number of hosts, from any position, for any seed."""

import gin
import numpy as np
import pytest
import seqio
import tensorflow as tf

from recalign.errors import UserError
from recalign.preprocessors.draws import Draws, stream_key
from recalign.preprocessors.surroundings import data_directory
from recalign.prompts import PROMPTS
from tasks.blocks import TASKS
from tasks.registration import task_of

LENGTHS = {"inputs": 96, "targets": 48}


@pytest.fixture(name="task_of")
def _task_of(corpus, vocabulary, monkeypatch):
    monkeypatch.setattr(seqio.utils, "_TFDS_DATA_DIR_OVERRIDE", str(corpus.directory.parent.parent))
    with gin.unlock_config():
        gin.parse_config("TaskSettings.history_length = 5\nTaskSettings.candidate_pool = 8")

    def make(kind):
        return task_of(kind, "small", **TASKS[kind]).replace(vocabulary=vocabulary)

    yield make
    gin.clear_config()


def stream(task, count, **arguments):
    arguments = {"split": "train", "seed": 3, "num_epochs": None} | arguments
    dataset = task.get_dataset(LENGTHS, **arguments)
    return [
        (example["inputs"].tolist(), example["targets"].tolist(), int(example["row"]))
        for example in dataset.take(count).as_numpy_iterator()
    ]


def made(task, count, split="train", shuffle=True, seed=3):
    """What `stream` gives, without a graph, which takes a second to trace."""
    _, make = task.maker(split, LENGTHS, shuffle=shuffle, seed=seed)
    examples = make(tf.range(count, dtype=tf.int64))
    tokens = (examples[name].to_list() for name in ("inputs", "targets"))
    return list(zip(*tokens, examples["row"].numpy().tolist(), strict=True))


def test_shards_interleave_to_the_stream_of_one_host(task_of):
    task = task_of("ranking")
    shards = [stream(task, 50, shard_info=seqio.ShardInfo(n, 4)) for n in range(4)]
    assert [shards[n % 4][n // 4] for n in range(200)] == made(task, 200)


@pytest.mark.parametrize("kind", [*PROMPTS, "p5_sequential", "p5_direct", "p5_rating"])
def test_a_shard_is_every_nth_position(kind, task_of):
    """What makes a kind's examples goes by their positions, whatever stands beside them."""
    _, make = task_of(kind).maker("train", LENGTHS, shuffle=True, seed=3)
    whole, shard = (make(tf.range(first, 90, step, tf.int64)) for first, step in ((0, 1), (2, 3)))
    for name in ("inputs", "targets"):
        assert shard[name].to_list() == whole[name].to_list()[2::3]
    assert shard["row"].numpy().tolist() == whole["row"].numpy().tolist()[2::3]


@pytest.mark.parametrize("kind", ["ranking", "mlm"])
def test_a_stream_starts_at_any_position(kind, task_of):
    task = task_of(kind)
    whole = made(task, 1500)
    assert stream(task, 100, first_position=1400) == whole[1400:]
    second = stream(task, 50, first_position=1400, shard_info=seqio.ShardInfo(1, 2))
    assert second == whole[1401::2]


def test_the_same_seed_repeats_and_another_differs(task_of):
    task = task_of("bpr")
    first = stream(task, 100)
    assert stream(task, 100) == first == made(task, 100)
    assert made(task, 100, seed=4) != first
    assert made(task, 100, seed=None) != made(task, 100, seed=None)


@pytest.mark.parametrize("kind", ["mim", "mlm", "bpr", "ranking"])
def test_each_epoch_draws_anew(kind, task_of):
    task = task_of(kind)
    size = task.num_input_examples("train")
    in_order = made(task, 2 * size, shuffle=False)
    same = [a == b for a, b in zip(in_order[:size], in_order[size:], strict=True)]
    assert np.mean(same) < 0.5
    rows = [row for _, _, row in in_order]
    assert rows[:size] == rows[size:]


@pytest.mark.parametrize("kind", ["retrieval", "rating", "ie"])
def test_every_epoch_visits_every_sample_once_in_another_order(kind, task_of):
    task = task_of(kind)
    size = task.num_input_examples("train")
    shuffled = made(task, 3 * size)
    in_order = made(task, size, shuffle=False)
    epochs = [shuffled[n * size : (n + 1) * size] for n in range(3)]
    assert sorted(in_order) == sorted(epochs[0]) == sorted(epochs[1]) == sorted(epochs[2])
    assert epochs[0] != epochs[1] != epochs[2] != in_order


def test_shuffled_epochs_have_no_memory_of_the_order(task_of):
    """TensorFlow's default number of rounds leaves neighbours and epochs strongly correlated."""
    from recalign.preprocessors.task import _permuted

    size = 30761
    numbers = tf.range(size, dtype=tf.int64)
    key = stream_key(0, "any")
    first, second = (
        _permuted(numbers, tf.fill([size], tf.constant(epoch, tf.int64)), size, key).numpy()
        for epoch in (0, 1)
    )
    assert sorted(first) == list(range(size))
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.03
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03


def test_held_out_samples_are_the_same_in_every_run(task_of):
    task = task_of("ranking")
    first = stream(task, 60, split="test", shuffle=False, num_epochs=1, seed=1)
    assert first == made(task, 60, split="test", shuffle=False, seed=2)
    shuffled = made(task, 60, split="test", shuffle=True, seed=2)
    assert sorted(shuffled) == sorted(first) and shuffled != first
    assert [row for _, _, row in first] == list(range(60))


def test_finite_datasets_know_their_size(task_of):
    task = task_of("retrieval")
    size = task.num_input_examples("train")
    dataset = task.get_dataset(LENGTHS, num_epochs=2, seed=0)
    assert int(dataset.cardinality()) == 2 * size == len(list(dataset.as_numpy_iterator()))
    shard = task.get_dataset(LENGTHS, num_epochs=1, seed=0, shard_info=seqio.ShardInfo(3, 7))
    assert int(shard.cardinality()) == len(list(shard.as_numpy_iterator()))


def test_features_are_what_the_contract_says(task_of):
    types = {
        "inputs": (tf.int32, 1),
        "targets": (tf.int32, 1),
        "history": (tf.int32, 1),
        "row": (tf.int64, 0),
        "split": (tf.int64, 0),
        "target": (tf.int32, 0),
        "candidates": (tf.int32, 1),
        "label": (tf.int32, 0),
    }
    for kind, extra in (
        ("retrieval", {"target"}),
        ("ranking", {"target", "candidates"}),
        ("rating", {"target", "label"}),
        ("mim", set()),
        ("ie", set()),
    ):
        spec = task_of(kind).get_dataset(LENGTHS, seed=0).element_spec
        assert set(spec) == {"inputs", "targets", "history", "row", "split"} | extra
        assert all((s.dtype, s.shape.rank) == types[name] for name, s in spec.items())
    example = next(task_of("rating").get_dataset(LENGTHS, "test").as_numpy_iterator())
    assert example["split"] == 2


def test_auxiliary_tasks_have_no_held_out_samples(task_of):
    assert task_of("mim").splits == ("train",)
    with pytest.raises(UserError, match="mim_small has no split 'test'; it has train"):
        task_of("mim").get_dataset(LENGTHS, "test")


def test_the_data_directory_is_tfds_override(monkeypatch):
    monkeypatch.setattr(seqio.utils, "_TFDS_DATA_DIR_OVERRIDE", None)
    assert data_directory() == "data"
    monkeypatch.setattr(seqio.utils, "_TFDS_DATA_DIR_OVERRIDE", "gs://elsewhere")
    assert data_directory() == "gs://elsewhere"


def test_draws_are_uniform_and_independent_of_how_positions_are_batched():
    positions = tf.range(4000, dtype=tf.int64)
    drawn = Draws(stream_key(7, "x"), positions).uniform("p", 8).numpy()
    assert abs(drawn.mean() - 0.5) < 0.01 and abs(drawn.std() - 12**-0.5) < 0.01
    assert np.abs(np.corrcoef(drawn.T) - np.eye(8)).max() < 0.07
    assert abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 0.05
    part = Draws(stream_key(7, "x"), positions[100:110]).uniform("p", 3).numpy()
    assert np.array_equal(part, drawn[100:110, :3])
    other = Draws(stream_key(7, "x"), positions).uniform("q", 8).numpy()
    assert abs(np.corrcoef(drawn[:, 0], other[:, 0])[0, 1]) < 0.05
