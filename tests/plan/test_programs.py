"""Bytes of a chip against a count by hand, on whatever device the tests run."""

import dataclasses

import jax
import pytest

from recalign.plan.programs import Layout, mesh_of, sizes
from recalign.trainer.experiment import Experiment

from .by_hand import BUCKETS, HC, MODEL, D, F, H, L, T, V

B = 4
EXPERIMENT = Experiment(
    mixture_or_task_name="ut_at_demo",
    task_feature_lengths={"inputs": L, "targets": T},
    train_steps=10,
    model_dir="unused",
    model=MODEL,
    batch_size=B,
    dropout_rate=0.0,
)


def held(remat=False, microbatches=1, **model):
    experiment = dataclasses.replace(EXPERIMENT, model=dataclasses.replace(MODEL, **model))
    layout = Layout(1, microbatches, remat)
    return sizes(experiment, layout, mesh_of(jax.devices()[:1], layout))


def test_parameters_moments_and_gradients():
    encoder = 4 * (4 * D * HC + 3 * D * F + 2 * D)
    decoder = 2 * (8 * D * HC + 3 * D * F + 3 * D)
    by_hand = 4 * (encoder + decoder + 2 * D + 2 * V * D + 2 * H * BUCKETS)
    found = held()
    assert found.parameters == found.gradients == by_hand
    # So small an array has a second moment of its own size; what is left are placeholders.
    assert by_hand < found.optimizer < 1.02 * by_hand


def test_microbatches_hold_a_sum_of_gradients_and_a_part_of_the_activations():
    found = held(microbatches=4)
    assert found.gradients == 2 * found.parameters
    assert found.activations < 0.4 * held().activations


@pytest.mark.parametrize(
    ("stack", "by_hand"),
    [("num_encoder_layers", 4 * B * L * D), ("num_decoder_layers", 4 * B * T * D)],
)
def test_a_layer_that_is_computed_again_keeps_its_input(stack, by_hand):
    deeper = {stack: getattr(MODEL, stack) + 1}
    assert held(remat=True, **deeper).activations - held(remat=True).activations == by_hand


def test_an_encoder_layer_keeps_what_its_backward_pass_reads():
    deeper = {"num_encoder_layers": 5}
    found = held(**deeper).activations - held().activations
    # Both norms' inputs and outputs; queries, keys, values and what is mixed of them; attention
    # weights; three of the gated block's hidden arrays and its product.
    least = 4 * B * L * (4 * D + 4 * HC + H * L + 4 * F)
    assert least < found < 2 * least
