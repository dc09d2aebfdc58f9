"""The estimate by hand against a count on paper, and against what was compiled."""

import pytest

from recalign.model.t5.config import T5Config
from recalign.plan.chips import CHIPS, Slice
from recalign.plan.programs import Layout, Sizes
from recalign.plan.roofline import estimate
from recalign.trainer.experiment import Experiment

WIDTH, IN, OUT = 64, 100, 10
EXPERIMENT = Experiment(
    mixture_or_task_name="ut_at_demo",
    task_feature_lengths={"inputs": IN, "targets": OUT},
    train_steps=10,
    model_dir="unused",
    model=T5Config(emb_dim=WIDTH, num_encoder_layers=3, num_decoder_layers=2, dtype="bfloat16"),
    batch_size=16,
)
WHERE = Slice.parse("v5e:4x4")
RING = CHIPS["v5e"].link_bandwidth  # sides of four are no rings


def sizes_of(layout):
    kept = 100 if layout.remat else 1000
    return Sizes(4000 // layout.num_partitions, 1, 1, kept // layout.microbatches)


def estimated(layout, flops=0.0):
    return estimate(EXPERIMENT, layout, WHERE, flops, sizes_of)


def test_arithmetic_is_the_chips_share_at_its_peak():
    assert estimated(Layout(1, 1, False), 197e12).compute_seconds == pytest.approx(1.0)


def test_gradients_of_each_microbatch_are_summed_over_all_copies():
    """16 copies of 4,000 bytes in float32: 2,000 as bfloat16, 15 sixteenths of them twice."""
    assert estimated(Layout(1, 1, False)).link_seconds * RING == pytest.approx(2000 * 2 * 15 / 16)
    twice = estimated(Layout(1, 2, False)).link_seconds
    assert twice == pytest.approx(2 * estimated(Layout(1, 1, False)).link_seconds)


@pytest.mark.parametrize(("remat", "encoder", "decoder"), [(False, 4, 6), (True, 5, 8)])
def test_partitions_sum_the_residual_stream(remat, encoder, decoder):
    """One copy of 16 partitions: nothing but sums within it."""
    tokens = 16 * (3 * encoder * IN + 2 * (decoder * OUT + IN))
    found = estimated(Layout(16, 1, remat)).link_seconds * RING
    assert found == pytest.approx(tokens * WIDTH * 2 * 2 * 15 / 16)


def test_memory_moves_weights_updates_and_activations():
    found = estimated(Layout(4, 2, True)).memory_seconds * CHIPS["v5e"].hbm_bandwidth
    assert found == pytest.approx(6 * 1000 + 3 * 2 * 500 + 2 * 1000)
