"""A packed row's examples have the loss that they have one by one, and do not see each other."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recalign.model.network import shift_right
from recalign.model.t5.config import T5Config
from recalign.model.t5.transformer import Transformer
from recalign.preprocessors.packing import packed_rows
from recalign.trainer.state import make_loss_sums

CONFIG = T5Config(
    vocab_size=96,
    emb_dim=24,
    num_heads=3,
    num_encoder_layers=2,
    num_decoder_layers=2,
    head_dim=8,
    mlp_dim=40,
    dropout_rate=0.0,
)
CAPACITY = {"inputs": 160, "targets": 24}
SIZES = [(90, 9), (40, 3), (20, 8), (150, 20), (5, 2), (3, 2)]
ROWS = np.array([0, 0, 0, 1, 1, 1])


@pytest.fixture(scope="module")
def examples():
    draws = np.random.default_rng(3)
    return {
        name: np.stack(
            [
                np.where(np.arange(length) < size[place], draws.integers(2, 96, length), 0)
                for size in SIZES
            ]
        ).astype(np.int32)
        for place, (name, length) in enumerate(CAPACITY.items())
    }


@pytest.fixture(scope="module")
def params():
    # T5X's first values, and biases by distance that a test would see.
    return jax.jit(lambda: jax.tree.map(lambda leaf: leaf * 1.5, CONFIG.init(jax.random.key(0))))()


def test_the_decoder_reads_each_example_from_its_start():
    targets = jnp.array([[3, 4, 1, 5, 1, 0], [6, 1, 0, 0, 0, 0]])
    segments = jnp.array([[1, 1, 1, 2, 2, 0], [1, 1, 0, 0, 0, 0]])
    np.testing.assert_array_equal(
        shift_right(targets, segments), [[0, 3, 4, 0, 5, 0], [0, 6, 0, 0, 0, 0]]
    )


@pytest.mark.parametrize("attention", [None, "xla"])
def test_loss_and_gradients_are_those_of_the_examples_unpacked(params, examples, attention):
    config = dataclasses.replace(CONFIG, attention=attention)
    packed = packed_rows(examples, ROWS, CAPACITY, 2)
    loss_sums = make_loss_sums(config, z_loss=1e-4)

    @jax.jit
    def of(params, batch):
        def mean_loss(params):
            parts = loss_sums(params, batch, None)
            return parts.loss / parts.tokens, parts

        return jax.value_and_grad(mean_loss, has_aux=True)(params)

    (loss, parts), gradient = of(params, examples)
    (packed_loss, packed_parts), packed_gradient = of(params, packed)
    assert parts.tokens == packed_parts.tokens == sum(size for _, size in SIZES)
    assert parts.correct == packed_parts.correct
    np.testing.assert_allclose(packed_loss, loss, rtol=1e-5)
    scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradient))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * scale),
        packed_gradient,
        gradient,
    )


@pytest.mark.parametrize("attention", [None, "xla"])
def test_an_example_does_not_change_when_its_neighbours_do(params, examples, attention):
    config = dataclasses.replace(CONFIG, attention=attention)
    others = {
        name: np.where(tokens > 0, (tokens + 31) % 94 + 2, 0).astype(np.int32)
        for name, tokens in examples.items()
    }
    for name in others:
        others[name][1] = examples[name][1]

    @jax.jit
    def logits(batch):
        return Transformer(config).apply(
            {"params": params},
            batch["inputs"],
            shift_right(batch["targets"], batch["targets_segment_ids"]),
            batch["inputs_segment_ids"],
            batch["targets_segment_ids"],
        )

    one, two = (packed_rows(tokens, ROWS, CAPACITY, 2) for tokens in (examples, others))
    is_its_own = one["targets_segment_ids"] == 2
    is_its_own[1] = False
    before, after = np.asarray(logits(one)), np.asarray(logits(two))
    np.testing.assert_array_equal(before[is_its_own], after[is_its_own])
    assert (before[~is_its_own] != after[~is_its_own]).any()
