"""The parameters under T5X's names."""

import jax
import numpy as np
import pytest
from flax import traverse_util

from recalign.errors import UserError
from recalign.model.names import from_t5x
from tests.t5x_names import to_t5x


def test_there_and_back_is_the_identity(params):
    back = from_t5x(to_t5x(params))
    jax.tree.map(np.testing.assert_array_equal, back, params)


def test_t5x_names_and_shapes(params):
    shapes = {
        name: leaf.shape
        for name, leaf in traverse_util.flatten_dict(to_t5x(params), sep="/").items()
    }
    attention = {"query": (16, 16), "key": (16, 16), "value": (16, 16), "out": (16, 16)}
    mlp = {"wi_0": (16, 32), "wi_1": (16, 32), "wo": (32, 16)}
    blocks = {
        "encoder": ({"attention": attention, "mlp": mlp}, 3),
        "decoder": (
            {"self_attention": attention, "encoder_decoder_attention": attention, "mlp": mlp},
            2,
        ),
    }
    norms = {"encoder_decoder_attention": "cross_attention"}
    expected = {
        "token_embedder/embedding": (48, 16),
        "decoder/logits_dense/kernel": (16, 48),
    }
    for stack, (layer, depth) in blocks.items():
        expected[f"{stack}/relpos_bias/rel_embedding"] = (2, 32)
        expected[f"{stack}/{stack}_norm/scale"] = (16,)
        for number in range(depth):
            for block, kernels in layer.items():
                prefix = f"{stack}/layers_{number}"
                expected[f"{prefix}/pre_{norms.get(block, block)}_layer_norm/scale"] = (16,)
                for kernel, shape in kernels.items():
                    expected[f"{prefix}/{block}/{kernel}/kernel"] = shape
    assert shapes == expected


def test_layers_in_any_order_and_beyond_ten(params):
    named = {
        f"layers_{number}": {"scale": np.full(2, number)}
        for number in (10, 2, *range(2), *range(3, 10))
    }
    np.testing.assert_array_equal(from_t5x(named)["layers"]["scale"][:, 0], np.arange(11))
    assert isinstance(from_t5x(named)["layers"]["scale"], np.ndarray)


def test_a_missing_layer_is_named():
    with pytest.raises(UserError, match="layers_1 are missing"):
        from_t5x({"layers_0": {"a": np.ones(1)}, "layers_2": {"a": np.ones(1)}})
    with pytest.raises(UserError, match="layers_1 does not hold the same parameters"):
        from_t5x({"layers_0": {"a": np.ones(1)}, "layers_1": {"b": np.ones(1)}})
