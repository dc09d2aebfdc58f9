"""What every network shares."""

import jax.numpy as jnp
import numpy as np

from recalign.model.network import shift_right


def test_shift_right():
    np.testing.assert_array_equal(
        shift_right(jnp.array([[5, 6, 1], [7, 1, 0]])), [[0, 5, 6], [0, 7, 1]]
    )
