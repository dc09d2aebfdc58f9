"""Operations against a count by hand, on whatever device the tests run."""

import functools

import jax
import jax.numpy as jnp
import pytest

from recalign.model.decode import beam_decode
from recalign.plan.compilation import matmul_flops
from recalign.trainer.state import make_loss_sums

from .by_hand import BUCKETS, HC, MODEL, D, F, L, T, V

B, K = 2, 5


def integers(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.int32)


def encoder_by_hand():
    projections = 4 * 2 * L * D * HC
    attention = 2 * 2 * L * L * HC
    return B * MODEL.num_encoder_layers * (projections + attention + 3 * 2 * L * D * F)


def decoder_by_hand():
    own = 4 * 2 * T * D * HC + 2 * 2 * T * T * HC
    to_encoder = 2 * 2 * T * D * HC + 2 * 2 * L * D * HC + 2 * 2 * T * L * HC
    layer = own + to_encoder + 3 * 2 * T * D * F
    return B * (MODEL.num_decoder_layers * layer + 2 * T * D * V)


def positions_by_hand():
    """One product of the table with one-hot columns a stack."""
    return 2 * 3 * BUCKETS * (L * L + T * T)


def traced_loss():
    loss_sums = make_loss_sums(MODEL)
    batch = {"inputs": jnp.ones((B, L), jnp.int32), "targets": jnp.ones((B, T), jnp.int32)}
    return lambda params: loss_sums(params, batch, None).loss


def flops_of(function, *arguments, **options):
    return matmul_flops(jax.jit(function).trace(*arguments).jaxpr, **options)


def test_a_forward_pass():
    found = flops_of(traced_loss(), MODEL.params_shape())
    assert found == encoder_by_hand() + decoder_by_hand() + positions_by_hand()


def test_a_backward_pass_takes_twice_the_forward_pass():
    found = flops_of(jax.grad(traced_loss()), MODEL.params_shape())
    # The one-hot columns need no gradient; that of the bias adds up the batch in every layer.
    sums = 2 * B * 3 * (MODEL.num_encoder_layers * L * L + MODEL.num_decoder_layers * T * T)
    assert found == 3 * (encoder_by_hand() + decoder_by_hand()) + 2 * positions_by_hand() + sums


def test_beam_search_with_every_turn_of_its_loop():
    decode = functools.partial(beam_decode, network=MODEL, beam_size=K, max_decode_len=T)
    found = flops_of(
        lambda params, inputs: decode(params, encoder_input_tokens_BxL=inputs),
        MODEL.params_shape(),
        integers(B, L),
        while_turns=T - 1,
    )
    # A beam looks at the K * T slots of its example and at L inputs.
    layer = 4 * 2 * D * HC + 2 * 2 * K * T * HC + 2 * 2 * D * HC + 2 * 2 * L * HC + 3 * 2 * D * F
    position = MODEL.num_decoder_layers * layer + 2 * D * V
    projected = B * MODEL.num_decoder_layers * 2 * 2 * L * D * HC
    positions = B * (1 + (T - 1) * K) * position
    assert found == encoder_by_hand() + projected + positions + positions_by_hand()


@pytest.mark.parametrize("turns", [1, 7])
def test_a_loop_counts_every_turn(turns):
    def loop(x):
        return jax.lax.scan(lambda carry, _: (carry @ carry, None), x, None, length=turns)[0]

    square = jax.ShapeDtypeStruct((4, 4), jnp.float32)
    assert flops_of(loop, square) == turns * 2 * 4**3


def test_of_two_branches_the_dearer_counts():
    def choose(x):
        return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x)

    assert flops_of(choose, jax.ShapeDtypeStruct((4, 4), jnp.float32)) == 2 * 2 * 4**3


def test_recomputation_is_counted():
    def deep(x):
        return jnp.sum(jax.checkpoint(lambda x: jnp.sin(x @ x) @ x)(x))

    def plain(x):
        return jnp.sum(jnp.sin(x @ x) @ x)

    square = jax.ShapeDtypeStruct((4, 4), jnp.float32)
    assert flops_of(jax.grad(deep), square) > flops_of(jax.grad(plain), square)
