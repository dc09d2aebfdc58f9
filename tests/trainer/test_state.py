import functools

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import PartitionSpec as P

from recalign.model.names import from_t5x
from recalign.model.t5.config import T5Config
from recalign.trainer import partitioning
from recalign.trainer.state import new_state, random_params
from tests.golden import make_t5x_trajectory as golden
from tests.golden.t5x_precision import MULTIPLE, assert_as_precise_as_t5x
from tests.optimizers import make_optimizer, train_step_of
from tests.t5x_names import to_t5x

CONFIG = T5Config(
    vocab_size=32,
    emb_dim=8,
    num_heads=2,
    num_encoder_layers=1,
    num_decoder_layers=1,
    head_dim=4,
    mlp_dim=16,
    dropout_rate=0.0,
)


def batch(seed=0):
    """Targets of different lengths, so that parts of the batch have different weights."""
    generator = np.random.default_rng(seed)
    targets = generator.integers(2, 32, (8, 6)).astype(np.int32)
    targets[np.arange(6) >= generator.integers(1, 7, (8, 1))] = 0
    return {"inputs": generator.integers(2, 32, (8, 12)).astype(np.int32), "targets": targets}


@functools.cache
def stepped(microbatches, factor):
    """The state after three steps, a line of metrics after two, and what each step gave."""
    mesh = partitioning.make_mesh()
    optimizer = make_optimizer(0.01, 0, 0)
    state = new_state(random_params(CONFIG, 0, mesh), optimizer, 0, mesh)
    changes = {"microbatches": microbatches, "log_period": 2, "loss_normalizing_factor": factor}
    train_step = train_step_of(CONFIG, optimizer, mesh, **changes)
    outcomes = []
    for step in range(3):
        state, outcome = train_step(state, partitioning.shard_local(mesh, batch(step)))
        outcomes.append(jax.device_get(outcome))
    return jax.device_get(state), outcomes


@pytest.mark.parametrize("factor", [None, "NUM_REAL_TARGET_TOKENS"])
def test_microbatches_sum_up_to_the_batch(factor):
    """Whatever the loss is divided by: the divisor is the whole batch's."""
    whole, parts = stepped(1, factor), stepped(4, factor)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        whole[0].params,
        parts[0].params,
    )
    for one, other in zip(whole[1], parts[1], strict=True):
        np.testing.assert_allclose(one.parts.loss, other.parts.loss, rtol=1e-4)
        assert one.parts.tokens == other.parts.tokens


def test_the_window_sums_since_the_last_line():
    _, outcomes = stepped(1, None)
    losses = [outcome.parts.loss for outcome in outcomes]
    windows = [outcome.window.loss for outcome in outcomes]
    np.testing.assert_allclose(windows, [losses[0], losses[0] + losses[1], losses[2]], rtol=1e-6)


def test_sharding_rules_know_the_parameters():
    shapes = jax.eval_shape(lambda: random_params(CONFIG, 0, partitioning.make_mesh()))
    specs = jax.tree.map(
        lambda sharding: sharding.spec,
        partitioning.state_shardings(partitioning.make_mesh(), shapes),
    )
    assert specs["encoder"]["layers"]["mlp"]["wo"]["kernel"] == P(None, "model", None)
    assert specs["decoder"]["logits_dense"]["kernel"] == P(None, "model")
    assert specs["token_embedder"]["embedding"] == P("model", None)
    assert specs["decoder"]["decoder_norm"]["scale"] == P()


def trajectory(dtype):
    """Our twenty steps: parameters at the end by T5X's names, and the losses."""
    config = T5Config(**golden.SIZES, dtype=dtype)
    mesh = partitioning.make_mesh()
    optimizer = make_optimizer(golden.LEARNING_RATE, golden.WARMUP_STEPS, 0)
    shapes = jax.eval_shape(lambda: to_t5x(random_params(config, 0, mesh)))
    start = golden.start({k: v.shape for k, v in flatten_dict(shapes, sep="/").items()})
    params = from_t5x(unflatten_dict({tuple(k.split("/")): v for k, v in start.items()}))
    state = new_state(params, optimizer, 0, mesh)
    train_step = train_step_of(config, optimizer, mesh, z_loss=golden.Z_LOSS)
    losses = []
    for batch in golden.batches():
        state, outcome = train_step(state, partitioning.shard_local(mesh, batch))
        losses.append([float(outcome.parts.loss), float(outcome.parts.z_loss)])
    final = flatten_dict(to_t5x(jax.device_get(state.params)), sep="/")
    return final, np.array(losses)


def test_twenty_steps_are_those_of_t5x():
    final, losses = trajectory("float32")
    expected = np.load(golden.ARCHIVE)
    assert_as_precise_as_t5x(losses[:, 0], expected, "loss")
    assert_as_precise_as_t5x(losses[:, 1], expected, "z_loss")
    for name, value in final.items():
        assert_as_precise_as_t5x(golden.sample(value), expected, f"sample/{name}")
        # A mean misses no more than the elements do.
        mean = np.mean(value, dtype=np.float64)
        allowed = MULTIPLE * expected[f"error/sample/{name}"]
        np.testing.assert_allclose(mean, expected[f"mean/{name}"], rtol=0, atol=allowed)


def test_twenty_steps_in_bfloat16_are_as_near_to_the_truth_as_those_of_t5x():
    """Two programs round to 8 bits in places of their own: alike in size, not in value."""
    final, losses = trajectory("bfloat16")
    expected = np.load(golden.ARCHIVE)
    found = {f"sample/{name}": golden.sample(value) for name, value in final.items()}
    found |= {"loss": losses[:, 0], "z_loss": losses[:, 1]}
    for name, value in found.items():
        truth = expected[name]
        theirs = _root_mean_square(expected[f"bfloat16/{name}"] - truth)
        assert _root_mean_square(value - truth) < 2 * theirs, name
    for name, value in final.items():
        theirs = _root_mean_square(expected[f"bfloat16/sample/{name}"] - expected[f"sample/{name}"])
        assert abs(np.mean(value, dtype=np.float64) - expected[f"mean/{name}"]) < 2 * theirs, name


def _root_mean_square(values):
    return np.sqrt(np.mean(np.square(values, dtype=np.float64)))
