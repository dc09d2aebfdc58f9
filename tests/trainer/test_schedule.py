import jax.numpy as jnp
import numpy as np
import pytest

from recalign.errors import UserError
from recalign.trainer.schedule import make_schedule

COSINE = "constant * linear_warmup * cosine_decay"


def rates(steps, *arguments, **settings):
    schedule = make_schedule(*arguments, **settings)
    return [float(schedule(jnp.asarray(step))) for step in steps]


@pytest.mark.parametrize("first_step", [0, 1_184_000])
def test_warm_up_counts_from_the_start_of_fine_tuning(first_step):
    steps = [first_step + n for n in (0, 1, 500, 1000, 50_000)]
    found = rates(steps, 0.001, 1000, first_step)
    np.testing.assert_allclose(found, [1e-8, 1e-6, 5e-4, 1e-3, 1e-3], rtol=1e-5)


def test_no_warm_up():
    assert rates([0], 0.5, 0) == [0.5]


def test_a_cosine_falls_after_the_warm_up_and_begins_again():
    # Steps 10, 30, 60, 90 of a cycle of 100 that begins at 10: cos of 0, 0.2, 0.5 and 0.8 pi.
    expected = [0.0, 1.0, 2.0, 1 + np.cos(0.2 * np.pi), 1.0, 1 + np.cos(0.8 * np.pi), 2.0]
    steps = [0, 5, 10, 30, 60, 90, 110]
    found = rates(steps, 2.0, 10, factors=COSINE, steps_per_cycle=100)
    np.testing.assert_allclose(found, np.maximum(expected, 1e-8), rtol=1e-5)


def test_a_line_falls_by_its_factor_until_the_smallest_rate():
    found = rates([5, 10, 11, 60, 500], 2.0, 10, factors="linear_decay", decay_factor=0.01)
    np.testing.assert_allclose(found, [1.0, 2.0, 1.98, 1.0, 1e-8], rtol=1e-5)


def test_root_decays():
    found = rates([0, 4, 16], 1.0, 4, factors="constant * rsqrt_decay")
    np.testing.assert_allclose(found, [0.5, 0.5, 0.25], rtol=1e-6)
    found = rates([0, 4, 16], 3.0, 4, factors="constant*rsqrt_normalized_decay")
    np.testing.assert_allclose(found, [3.0, 3.0, 1.5], rtol=1e-6)


@pytest.mark.parametrize(
    ("factors", "message"),
    [("constant * cosine", "no factor 'cosine'"), ("constant * linear_decay", "alone")],
)
def test_factors_that_make_no_sense(factors, message):
    with pytest.raises(UserError, match=message):
        make_schedule(1.0, 1, factors=factors)
