"""A plan in words, made by hand: what it costs, what padding takes, what packing would do."""

import dataclasses

import numpy as np
import pytest

from recalign.plan.chips import Slice
from recalign.plan.filling import Filling
from recalign.plan.planning import Other, Plan
from recalign.plan.programs import Layout, Sizes
from recalign.plan.search import Tried
from recalign.plan.text import as_json, as_text

from .by_hand import STEP

LENGTHS = {"inputs": 256, "targets": 64}
REFUSED = dataclasses.replace(
    STEP, memory_bytes=None, link_bytes=None, peak=None, refusal="Used 20.0G of 15.75G hbm."
)
PACKED = Other(("PACK = True", "BATCH_SIZE = 4", "TRAIN_STEPS = 28_800"), 20.0, 0.02)


def plan_of(**changes):
    size = {"inputs": np.full(2048, 64), "targets": np.full(2048, 8)}
    plan = Plan(
        name="ut_at_toys",
        where=Slice.parse("v5e:2x2"),
        available=2**34,
        layout=Layout(2, 1, True),
        batch_size=16,
        decode_batch_size=16,
        sizes=Sizes(2**30, 2**20, 2**30, 2**31),
        train=STEP,
        decode=STEP,
        steps=36_000,
        examples_a_step=16.0,
        filling=Filling((size,), LENGTHS),
        other=PACKED,
    )
    return dataclasses.replace(plan, **changes)


def test_the_hours_are_those_of_the_roofline():
    # 36,000 steps of 0.2 s on four chips.
    text = as_text(plan_of())
    assert "36,000 steps take 2.0 hours, 8 chip-hours, at the roofline." in text
    assert "200.0 ms at the roofline: arithmetic 50.0, memory 100.0, links 100.0; 25% of" in text
    assert text.startswith("ut_at_toys on v5e:2x2: 4 chips, 16.00 GiB of HBM each for programs\n")
    assert "\n\nIt fits: 4.00 GiB of 16.00 GiB in the train step.\n" in text


def tokens_of(plan):
    """The lines about what the tokens fill."""
    (part,) = [part for part in as_text(plan).split("\n\n") if part.startswith("An example has")]
    return part.splitlines()


def test_packing_is_recommended_where_it_takes_fewer_chip_hours():
    """576,000 examples, 0.2 s x 4 chips / 16 = 50 chip-ms each or 20."""
    assert tokens_of(plan_of()) == [
        "An example has 64 input and 8 target tokens on average, 25% and 12% of a row",
        "  unpacked, as compiled: 16.0 examples a step, 50.0 chip-ms an example, 8.0 chip-hours",
        "  packed, as estimated: 20.0 examples a step, 20.0 chip-ms an example, 3.2 chip-hours",
        "    PACK = True",
        "    BATCH_SIZE = 4",
        "    TRAIN_STEPS = 28_800",
        "  recommended: packed, 0.40 of the other's chip-hours for the same 576,000 examples",
    ]


def test_a_packed_experiment_is_compared_with_its_rows_unpacked():
    unpacked = Other(("PACK = False", "BATCH_SIZE = 48"), 48.0, 0.05)
    plan = plan_of(batch_size=16, examples_a_step=50.0, packed=True, other=unpacked)
    # 0.2 s x 4 / 50 = 16 chip-ms each of 1,800,000 examples.
    assert tokens_of(plan)[1:] == [
        "  packed, as compiled: 50.0 examples a step, 16.0 chip-ms an example, 8.0 chip-hours",
        "  unpacked, as estimated: 48.0 examples a step, 50.0 chip-ms an example, 25.0 chip-hours",
        "    PACK = False",
        "    BATCH_SIZE = 48",
        "  recommended: packed, 0.32 of the other's chip-hours for the same 1,800,000 examples",
    ]


def test_unpacked_is_recommended_where_packing_takes_more():
    dearer = dataclasses.replace(PACKED, chip_seconds_an_example=0.1)
    assert tokens_of(plan_of(other=dearer))[-1] == (
        "  recommended: unpacked, 0.50 of the other's chip-hours for the same 576,000 examples"
    )


def test_without_the_data_it_says_what_is_not_known():
    text = as_text(plan_of(filling=None, other=None, unread="dataset 'toys' is not prepared"))
    assert "What the tokens fill is not known: dataset 'toys' is not prepared" in text
    assert "recommended" not in text


def test_of_another_network_the_filling_alone_is_known():
    assert len(tokens_of(plan_of(other=None))) == 1


def test_where_nothing_is_trained_nothing_is_said_of_tokens():
    text = as_text(plan_of(train=None, steps=0, filling=None, other=None))
    assert "tokens" not in text.partition("\nAssumed")[0] and "Decode step" in text


def test_json_has_the_same_figures():
    found = as_json(plan_of())
    assert found["chip_hours"] == pytest.approx(8.0)
    assert found["chip_seconds_an_example"] == pytest.approx(0.05)
    assert found["examples_a_step"] == 16
    assert found["tokens_an_example"] == {"inputs": 64, "targets": 8}
    assert found["other"]["gin"] == PACKED.gin
    assert found["other"]["chip_seconds_an_example"] == 0.02


def test_what_does_not_fit_is_refused_in_the_compilers_words():
    text = as_text(plan_of(train=REFUSED, decode=None, other=None))
    assert (
        "It does not fit: the train step needs too much memory; --search looks for a layout that "
        "does. Used 20.0G of 15.75G hbm." in text
    )
    assert "at the roofline" not in text.partition("\nAssumed")[0]


def test_a_search_that_finds_nothing_says_what_to_take():
    tried = (Tried(Layout(2, 1, True), 0.3, None, "Used 20.0G of 15.75G hbm."),)
    text = as_text(plan_of(train=REFUSED, decode=None, other=None, tried=tried))
    assert "Nothing tried fits: take more chips, or ones with more memory." in text
    line = "NUM_PARTITIONS = 2, MICROBATCHES = None, REMAT = True: Used 20.0G of 15.75G hbm."
    assert f"         —      300 ms  {line}" in text


def test_a_search_that_finds_a_layout_prints_the_lines_to_paste():
    tried = (Tried(Layout(2, 1, True), 0.3, 0.2, "25% of the memory"),)
    plan = plan_of(tried=tried, gin=tuple(tried[0].layout.gin()))
    text = as_text(plan)
    assert (
        "in the train step. To paste into the experiment:\n"
        "  NUM_PARTITIONS = 2\n  MICROBATCHES = None\n  REMAT = True\n" in text
    )
