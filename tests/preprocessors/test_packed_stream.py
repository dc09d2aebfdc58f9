"""The stream of packed rows: one on any number of hosts, from any row on, with all its examples."""

import dataclasses

import numpy as np
import pytest

from recalign.errors import UserError
from recalign.preprocessors import packed_stream
from recalign.preprocessors.packed_stream import PackedStream, spread
from recalign.preprocessors.stream import Stream

LENGTHS = {"inputs": 192, "targets": 40}
BATCH = 8
ALL = slice(0, BATCH)


# Windows are small, and batches are read once.
@pytest.fixture(scope="module")
def packed(two_tasks):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed_stream, "WINDOW", 128)
        yield PackedStream.of(Stream(two_tasks, (1.0, 1.0), seed=3), LENGTHS)


def read(packed, first_row, count, rows=ALL):
    batches = packed.batches(first_row, LENGTHS, BATCH, rows).take(count)
    return list(batches.as_numpy_iterator())


@pytest.fixture(scope="module")
def whole(packed):
    """Two windows and the beginning of a third."""
    return read(packed, 0, 2 * packed.rows // BATCH + 3)


def assert_same(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_goes_on_as_the_undisturbed_stream(packed, whole):
    in_second_window = packed.rows // BATCH + 2
    for first in (3, in_second_window):
        assert_same(whole[first : first + 4], read(packed, first * BATCH, 4))


def test_eight_hosts_read_their_rows_of_one_stream(packed, whole):
    parts = [read(packed, 0, 5, slice(host, host + 1)) for host in range(BATCH)]
    for number, batch in enumerate(whole[:5]):
        for name, value in batch.items():
            if name == "examples":
                assert all((part[number][name] == value).all() for part in parts)
            else:
                joined = np.concatenate([part[number][name] for part in parts])
                np.testing.assert_array_equal(value, joined, err_msg=name)


def examples_of(batch):
    """(task, inputs, targets) of every example in the rows."""
    for row in range(len(batch["inputs"])):
        for segment in range(1, batch["inputs_segment_ids"][row].max() + 1):
            inputs, targets = (
                batch[name][row][batch[f"{name}_segment_ids"][row] == segment].tolist()
                for name in ("inputs", "targets")
            )
            (task,) = set(batch["task"][row][batch["targets_segment_ids"][row] == segment].tolist())
            yield task, tuple(inputs), tuple(targets)


def test_a_window_holds_the_examples_of_its_positions(packed, whole):
    rows = {name: np.concatenate([batch[name] for batch in whole]) for name in whole[0]}
    plain = packed.stream.batches(0, LENGTHS, 128, slice(0, 128)).take(2).as_numpy_iterator()
    for window, batch in enumerate(plain):
        inside = slice(window * packed.rows, (window + 1) * packed.rows)
        found = examples_of({n: v[inside] for n, v in rows.items() if n != "examples"})
        expected = (
            (task, *(tuple(batch[name][n][batch[name][n] > 0].tolist()) for name in LENGTHS))
            for n, task in enumerate(batch["task"].tolist())
        )
        assert sorted(found) == sorted(expected)


def assert_counted(batches):
    for batch in batches:
        found = [task for task, *_ in examples_of({n: batch[n] for n in batch if n != "examples"})]
        np.testing.assert_array_equal(batch["examples"], np.bincount(found, minlength=2))


def test_counts_are_what_comes(packed, whole):
    assert_counted(whole)


def test_examples_without_room_are_told_once_and_not_counted(packed):
    said = []
    narrow = dataclasses.replace(packed, rows=packed.rows // 2 // BATCH * BATCH, tell=said.append)
    batches = read(narrow, 0, narrow.rows // BATCH)
    assert_counted(batches)
    held = sum(batch["examples"].sum() for batch in batches)
    assert 0 < held < 128
    share = f"packed: {1 - held / 128:.2%} of a window's examples have no room in its {narrow.rows}"
    assert said == [f"{share} rows and are left out; other windows differ and say no more"]


def test_steps_are_alike(packed, whole):
    """The packer's rows begin with the longest examples: they are spread over all steps."""
    fill = np.array([np.count_nonzero(batch["inputs"]) for batch in whole])
    assert fill.min() > 0.5 * fill.mean()
    assert all((batch["inputs_segment_ids"][:, 0] == 1).all() for batch in whole)
    # Prompts of some 110 tokens: few rows of 192 have room for a second.
    assert packed.examples_per_row == 128 / packed.rows > 1


def test_other_lengths_are_refused(packed):
    with pytest.raises(UserError, match="192.*100"):
        packed.batches(0, {"inputs": 100, "targets": 40}, BATCH, ALL)


@pytest.mark.parametrize("rows", [1, 2, 3, 8, 97, 128, 640])
def test_spread_is_a_permutation_of_rows_far_apart(rows):
    order = spread(rows)
    assert sorted(order.tolist()) == list(range(rows))
    if rows > 8:
        assert np.abs(np.diff(order)).min() > rows / 3
