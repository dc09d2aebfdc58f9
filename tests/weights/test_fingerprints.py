"""What a fingerprint sees, and that hosts and devices agree on it."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recalign.errors import UserError
from recalign.weights import fingerprints


def of(array):
    return fingerprints.of_arrays({"a": jnp.asarray(array)})


def stack(seed=0, shape=(3, 8, 8)):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(), (1,), (5, 7), (3, 8, 8), (2, 3, 4, 5)])
def test_a_host_and_a_device_agree_whole_and_layer_by_layer(shape):
    array = np.asarray(stack(shape=shape), np.float32)
    whole = fingerprints.sums_of(array)
    assert fingerprints.joined([whole]) == of(array)
    if array.ndim:
        size = array[0].size
        parts = [fingerprints.sums_of(layer, n * size) for n, layer in enumerate(array)]
        assert fingerprints.added(parts) == whole


def test_a_large_array_is_summed_in_parts(monkeypatch):
    array = stack(shape=(10, 33))
    expected = fingerprints.sums_of(array)
    monkeypatch.setattr(fingerprints, "_AT_ONCE", 7)
    assert fingerprints.sums_of(array) == expected


@given(st.integers(0, 3 * 64 * 32 - 1))
def test_every_flipped_bit_is_seen(bit):
    array = stack()
    bits = array.view(np.uint32).reshape(-1)
    bits[bit // 32] ^= np.uint32(1 << (bit % 32))
    assert fingerprints.sums_of(array) != fingerprints.sums_of(stack())


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a[:, ::-1],
        lambda a: a[::-1],
        lambda a: a.swapaxes(1, 2),
        lambda a: np.roll(a, 1, axis=2),
        lambda a: -a,
        lambda a: a.reshape(-1)[::-1].reshape(a.shape),
    ],
    ids=["rows", "layers", "transposed", "rolled", "signs", "reversed"],
)
def test_what_changed_places_is_seen(change):
    assert of(np.ascontiguousarray(change(stack()))) != of(stack())


def test_a_number_and_its_negative_that_swap_are_seen():
    """Their bits differ in the highest alone, which an even difference of weights would hide."""
    array = np.zeros(64, np.float32)
    array[3], array[40] = 1.5, -1.5
    swapped = array.copy()
    swapped[[3, 40]] = swapped[[40, 3]]
    assert fingerprints.sums_of(array) != fingerprints.sums_of(swapped)


def test_the_fingerprint_of_an_earlier_version_is_told():
    with pytest.raises(UserError, match=r"runs/x: written by an earlier recalign"):
        fingerprints.check_version("00ff00ff", "runs/x")
    fingerprints.check_version(of(stack()), "runs/x")
