"""The same logits as Hugging Face `transformers` on a random T5 1.1; needs torch, else skipped."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recalign.model.names import from_t5x
from recalign.model.t5.transformer import Transformer
from tests.model.conftest import ragged, seeded_weights, tiny_config
from tests.t5x_names import to_t5x

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tests.golden import make_hugging_face  # noqa: E402
from tests.golden.t5x_precision import MULTIPLE  # noqa: E402

_ATTENTION = {"q": "query", "k": "key", "v": "value", "o": "out"}


def _layer(named: dict, stack: str) -> dict:
    """One of T5X's layers under Hugging Face's names, where kernels are transposed."""
    blocks = (
        ["attention"] if stack == "encoder" else ["self_attention", "encoder_decoder_attention"]
    )
    state = {}
    for number, block in enumerate(blocks):
        theirs = ("SelfAttention", "EncDecAttention")[number]
        norm = f"pre_{block.replace('encoder_decoder', 'cross')}_layer_norm"
        state[f"layer.{number}.layer_norm.weight"] = named[norm]["scale"]
        for short, name in _ATTENTION.items():
            state[f"layer.{number}.{theirs}.{short}.weight"] = named[block][name]["kernel"].T
    last = len(blocks)
    state[f"layer.{last}.layer_norm.weight"] = named["pre_mlp_layer_norm"]["scale"]
    for name in ("wi_0", "wi_1", "wo"):
        state[f"layer.{last}.DenseReluDense.{name}.weight"] = named["mlp"][name]["kernel"].T
    return state


def _hugging_face(config, named):
    state = {
        "shared.weight": named["token_embedder"]["embedding"],
        "lm_head.weight": named["decoder"]["logits_dense"]["kernel"].T,
    }
    for stack, depth in (
        ("encoder", config.num_encoder_layers),
        ("decoder", config.num_decoder_layers),
    ):
        state[f"{stack}.embed_tokens.weight"] = state["shared.weight"]
        state[f"{stack}.final_layer_norm.weight"] = named[stack][f"{stack}_norm"]["scale"]
        relpos = "block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        state[f"{stack}.{relpos}"] = named[stack]["relpos_bias"]["rel_embedding"].T
        for number in range(depth):
            for name, value in _layer(named[stack][f"layers_{number}"], stack).items():
                state[f"{stack}.block.{number}.{name}"] = value
    model = transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            vocab_size=config.vocab_size,
            d_model=config.emb_dim,
            d_kv=config.head_dim,
            d_ff=config.mlp_dim,
            num_layers=config.num_encoder_layers,
            num_decoder_layers=config.num_decoder_layers,
            num_heads=config.num_heads,
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=False,
        )
    )
    tensors = {name: torch.tensor(np.asarray(value)) for name, value in state.items()}
    # transformers 5 ties the output layer to the embedding whatever the configuration says.
    model.lm_head.weight = torch.nn.Parameter(tensors["lm_head.weight"].clone())
    model.load_state_dict(tensors, strict=True)
    return model.eval()


def test_logits():
    config = dataclasses.replace(tiny_config(), num_encoder_layers=2)
    named = seeded_weights(config)
    inputs = ragged(3, 150, [150, 4, 70], seed=21)
    read = np.pad(ragged(3, 9, [9, 4, 6], seed=22), ((0, 0), (1, 0)))
    model = _hugging_face(config, named)
    rounded = make_hugging_face.logits_of(model, inputs, read)
    with make_hugging_face.float64():
        expected = make_hugging_face.logits_of(model.double(), inputs, read)
    error = np.max(np.abs(rounded - expected))
    params = from_t5x(named)
    assert jax.tree.structure(to_t5x(params)) == jax.tree.structure(named)
    logits = Transformer(config).apply({"params": params}, jnp.asarray(inputs), jnp.asarray(read))
    # As golden numbers are compared: tests/golden/README.md says why.
    np.testing.assert_allclose(logits, expected, atol=MULTIPLE * error, rtol=0)
