"""Which layouts are tried, in which order, and which is recommended."""

import dataclasses

import numpy as np
import pytest

from recalign.errors import UserError
from recalign.model.t5.config import T5Config
from recalign.plan import planning
from recalign.plan.chips import CHIPS, Slice
from recalign.plan.filling import Filling
from recalign.plan.programs import Layout, Sizes
from recalign.plan.search import REMATS, partitionings, search
from recalign.trainer.experiment import Experiment
from tests.examples.decoder_only import DecoderOnly

from .by_hand import STEP

EXPERIMENT = Experiment(
    mixture_or_task_name="ut_at_demo",
    task_feature_lengths={"inputs": 64, "targets": 16},
    train_steps=10,
    model_dir="unused",
    model=T5Config(num_heads=8, mlp_dim=64),
    batch_size=16,
)
SMALL = Sizes(parameters=10, optimizer=1, gradients=10, activations=10)


def by_partitions(layout):
    """Seconds: the fewer partitions and microbatches, and the less is made again, the faster."""
    return layout.num_partitions + layout.microbatches / 10 + REMATS.index(layout.remat) / 100


def searched(fits, sizes_of=lambda layout: SMALL, available=100, estimated=by_partitions):
    compiled = []

    def compile_layout(layout):
        compiled.append(layout)
        seconds = fits(layout)
        return seconds, "97% of the memory" if seconds else "the compiler's words"

    tried = search(
        EXPERIMENT, 16, available, sizes_of, estimated, compile_layout, lambda line: None
    )
    return tried, compiled


def test_partitionings_divide_chips_heads_and_batches():
    assert partitionings(EXPERIMENT, 16) == [1, 2, 4, 8]
    assert partitionings(dataclasses.replace(EXPERIMENT, batch_size=4), 16) == [4, 8]
    assert partitionings(dataclasses.replace(EXPERIMENT, eval_batch_size=2), 16) == [8]
    assert partitionings(dataclasses.replace(EXPERIMENT, batch_size=3), 16) == []


def test_microbatches_double_until_a_step_fits():
    def fits(layout):
        return 1.0 if layout.num_partitions == 8 and layout.microbatches == 4 else None

    tried, compiled = searched(fits)
    assert tried[0].layout == Layout(8, 4, False)
    kept = [one.microbatches for one in compiled if one.num_partitions == 8 and not one.remat]
    assert kept == [1, 2, 4]


def test_the_search_ends_where_no_estimate_is_below_what_was_compiled():
    """Estimates are 1.10, 1.11 and 1.12 s, then 2.10 s with two partitions."""
    tried, compiled = searched(lambda layout: 1.115)
    assert compiled == [Layout(1, 1, False), Layout(1, 1, REMATS[1])]
    rest = tried[2:]
    assert len(rest) == 4 * len(REMATS) - 2
    assert all(one.reason.startswith("not compiled") and one.estimated for one in rest)


def test_three_that_fit_are_enough_and_the_fastest_compiled_leads():
    tried, compiled = searched(lambda layout: 9.0 - (layout.remat is not False))
    assert compiled == [Layout(1, 1, remat) for remat in REMATS]
    assert tried[0].layout == compiled[1]


def test_the_next_microbatches_of_one_that_does_not_fit_wait_for_their_turn():
    """With two partitions: 2.10, 2.11 and 2.12 s as one, 2.20 s in two microbatches."""
    partitioned = {False: None, REMATS[1]: 2.3, True: 2.3}

    def fits(layout):
        if layout.num_partitions != 2 or layout.microbatches != 1:
            return None
        return partitioned[layout.remat]

    _, compiled = searched(fits)
    assert compiled[3:] == [
        *(Layout(2, 1, remat) for remat in REMATS),
        Layout(2, 2, False),
    ]


def test_what_arithmetic_shows_to_be_too_large_is_not_compiled():
    def sizes_of(layout):
        return dataclasses.replace(
            SMALL, parameters=400 // layout.num_partitions, activations=180 // layout.microbatches
        )

    tried, compiled = searched(lambda layout: None, sizes_of)
    assert {one.num_partitions for one in compiled} == {8}
    assert min(one.microbatches for one in compiled) == 4
    refused = [one for one in tried if one.layout.num_partitions == 4]
    assert refused and all("alone take" in one.reason for one in refused)
    assert all(one.estimated is None for one in refused)


def test_a_layout_as_gin_lines():
    assert Layout(4, 1, "dots_with_no_batch_dims_saveable").gin() == [
        "NUM_PARTITIONS = 4",
        "MICROBATCHES = None",
        "REMAT = 'dots_with_no_batch_dims_saveable'",
    ]


@pytest.mark.parametrize(
    ("text", "chips"), [("v5e:4x4", 16), ("v4:4x4x4", 64), ("v5p:2x2x1", 4), ("v6e:1x1", 1)]
)
def test_slices(text, chips):
    assert Slice.parse(text).chips == chips
    assert Slice.parse(text).name == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("v5e", "give a generation"),
        ("v3:2x2", "v4, v5e, v5p, v6e"),
        ("v4:2x2", "3 dimensions, such as v4:2x2x2"),
        ("v5e:2x2x2", "2 dimensions"),
        ("v5e:32x32", "largest slice of v5e has 256"),
        ("v5e:0x4", "0 chips"),
    ],
)
def test_slices_that_do_not_exist(text, said):
    with pytest.raises(UserError, match=said):
        Slice.parse(text)


def test_short_sides_do_not_close_to_a_ring():
    assert Slice.parse("v5e:4x4").ring_bandwidth == CHIPS["v5e"].link_bandwidth
    assert Slice.parse("v5e:16x16").ring_bandwidth == 2 * CHIPS["v5e"].link_bandwidth
    assert Slice.parse("v4:4x4x4").ring_bandwidth == 2 * CHIPS["v4"].link_bandwidth


@pytest.fixture
def _no_chips(monkeypatch):
    """A slice without its compiler: what is refused is refused before anything is compiled."""
    monkeypatch.setattr(Slice, "devices", lambda self: [None] * self.chips)
    monkeypatch.setattr(planning, "available_bytes", lambda device: 2**34)


@pytest.mark.usefixtures("_no_chips")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"initial_step": 10}, "--search is for the fastest train step, and .* trains none: plan"),
        ({"model": DecoderOnly(vocab_size=96)}, "--search estimates steps of T5 alone: plan a"),
        (
            {"batch_size": 3},
            "BATCH_SIZE = 3, VOCAB_SIZE = 32128 and the network's heads and widths cannot be "
            "shared out to 16 chips by any NUM_PARTITIONS",
        ),
    ],
)
def test_searches_that_are_refused(changes, said):
    with pytest.raises(UserError, match=said):
        planning.plan(dataclasses.replace(EXPERIMENT, **changes), "v5e:4x4", searching=True)


@pytest.mark.usefixtures("_no_chips")
@pytest.mark.parametrize(
    ("pack", "rows", "seconds", "expected"),
    [
        # Four examples a row. Eight partitions have two copies, for which four rows hold 16
        # examples, as they do for four copies; two would need eight rows.
        (False, 16, {4: 0.5, 8: 0.4, 2: 0.6}, (4, 16.0, 8)),
        (False, 16, {4: 0.4, 8: 0.5, 2: 0.6}, (4, 16.0, 4)),
        (False, 16, {4: 0.4, 8: 0.5, 2: 0.3}, (8, 32.0, 2)),
        (True, 4, {4: 0.4, 8: 0.5, 2: 0.6}, (16, 16.0, 4)),
    ],
)
def test_packing_is_compared_on_the_partitions_that_suit_it(
    monkeypatch, pack, rows, seconds, expected
):
    """Sixteen chips of which one partition holds too much; the experiment has four partitions."""
    experiment = dataclasses.replace(
        EXPERIMENT, num_partitions=4, batch_size=rows, eval_batch_size=16, pack=pack, train_steps=90
    )
    monkeypatch.setattr(
        planning._Planner,
        "_sizes",
        lambda self, layout: dataclasses.replace(
            SMALL, parameters=2**35 if layout.num_partitions == 1 else 10
        ),
    )
    asked = []

    def estimated(planner, layout):
        asked.append(layout.num_partitions)
        return seconds[layout.num_partitions]

    monkeypatch.setattr(planning._Planner, "_estimated", estimated)
    size = {"inputs": np.full(2048, 16), "targets": np.full(2048, 4)}
    lengths = experiment.task_feature_lengths
    compiled = dataclasses.replace(
        STEP, flops=0.0, memory_bytes=0.0, link_bytes=50e9 * 2 * seconds[4]
    )
    planner = planning._Planner(experiment, Slice.parse("v5e:4x4"), lambda line: None)
    other = planner._other(Filling((size,), lengths), Layout(4, 1, False), compiled, 16.0)
    its_rows, examples, partitions = expected
    assert set(asked) == {2, 4, 8}
    assert other.gin[:2] == (f"PACK = {not pack}", f"BATCH_SIZE = {its_rows}")
    assert "EVAL_BATCH_SIZE = 16" in other.gin
    assert f"TRAIN_STEPS = {int(90 * 16 / examples)}" in other.gin
    assert (f"NUM_PARTITIONS = {partitions}" in other.gin) == (partitions != 4)
    assert other.examples_a_step == examples
    # What was compiled took twice what was estimated.
    assert other.chip_seconds_an_example == pytest.approx(2 * seconds[partitions] * 16 / examples)
