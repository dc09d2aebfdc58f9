import dataclasses
import types

import numpy as np
import pytest
import seqio
import tensorflow as tf

from recalign.preprocessors.stream import Stream

LENGTHS = {"inputs": 96, "targets": 24}
BATCH = 8
ALL = slice(0, BATCH)


@pytest.fixture(scope="module")
def stream(two_tasks):
    return Stream(two_tasks, (1.0, 1.0), seed=3)


@pytest.fixture(scope="module")
def whole(stream):
    return read(stream, 0, 12)


def read(stream, first_position, count, rows=ALL):
    batches = stream.batches(first_position, LENGTHS, BATCH, rows).take(count)
    return list(batches.as_numpy_iterator())


def assert_same(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_goes_on_as_the_undisturbed_stream(stream, whole):
    assert_same(whole[5:], read(stream, 5 * BATCH, 7))


def test_goes_on_in_a_later_block_of_choices(stream):
    before = read(stream, 4096 - BATCH, 3)
    assert_same(before[1:], read(stream, 4096, 2))


def test_hosts_read_their_rows_of_one_stream(stream, whole):
    parts = [read(stream, 0, 12, rows) for rows in (slice(0, 2), slice(2, 8))]
    for number, batch in enumerate(whole):
        for name, value in batch.items():
            joined = np.concatenate([part[number][name] for part in parts])
            np.testing.assert_array_equal(value, joined)


def test_counts_are_what_comes(stream, whole):
    numbers = np.concatenate([batch["task"] for batch in whole])
    np.testing.assert_array_equal(stream.counts(0, 96), np.bincount(numbers))
    np.testing.assert_array_equal(stream.counts(16, 96), np.bincount(numbers[16:]))
    assert stream.counts(5000, 5000).sum() == 0
    assert stream.counts(100, 9000).sum() == 8900


def test_rates(stream):
    uneven = Stream(stream.tasks * 2 + stream.tasks[:1], (5.0, 1.0, 1.0, 1.0, 2.0), seed=0)
    shares = uneven.counts(0, 40_000) / 40_000
    np.testing.assert_allclose(shares, np.array([5, 1, 1, 1, 2]) / 10, atol=0.01)


def test_how_often_the_samples_of_tasks_are_read():
    def task(name, samples):
        return types.SimpleNamespace(name=name, num_input_examples={"train": samples}.get)

    mixed = (task("a", 50), task("b", 300), task("does_not_say", None))
    # Of 800 examples an eighth are of a, three eighths of b.
    assert Stream(mixed, (1.0, 3.0, 4.0), seed=0).passes(800) == {"a": 2.0, "b": 1.0}


def test_a_task_may_be_absent_from_a_whole_chunk(stream):
    never = dataclasses.replace(stream, rates=(1.0, 0.0))
    alone = dataclasses.replace(stream, tasks=stream.tasks[:1], rates=(1.0,))
    assert_same(read(never, 0, 2), read(alone, 0, 2))


def test_another_seed_is_another_stream(stream, whole):
    other = dataclasses.replace(stream, seed=4)
    assert not np.array_equal(whole[0]["inputs"], read(other, 0, 1)[0]["inputs"])


def test_other_seqio_tasks_join_in(stream):
    vocabulary = seqio.PassThroughVocabulary(100)
    texts = [{"inputs": [2 + n, 1], "targets": [50 + n, 1]} for n in range(10)]
    plain = seqio.Task(
        "plain",
        source=seqio.FunctionDataSource(
            lambda split, shuffle_files, seed=None: tf.data.Dataset.from_generator(
                lambda: iter(texts),
                output_signature={
                    name: tf.TensorSpec([None], tf.int32) for name in ("inputs", "targets")
                },
            ),
            splits=["train"],
        ),
        output_features={
            name: seqio.Feature(vocabulary, add_eos=False) for name in ("inputs", "targets")
        },
        preprocessors=[],
    )
    mixed = Stream((stream.tasks[0], plain), (1.0, 1.0), seed=0)
    whole = read(mixed, 0, 4)
    assert_same(whole[2:], read(mixed, 2 * BATCH, 2))
    shares = [read(mixed, 0, 4, rows) for rows in (slice(0, 4), slice(4, 8))]
    joined = np.concatenate([shares[0][3]["inputs"], shares[1][3]["inputs"]])
    np.testing.assert_array_equal(whole[3]["inputs"], joined)
    assert {50 <= token < 60 for b in whole for token in b["targets"][b["task"] == 1, 0]} == {True}
