"""Start weights that know the items."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recalign.data.item_vectors import token_vectors
from recalign.data.prepared import open_dataset
from recalign.model.t5.config import T5Config
from recalign.model.t5.transformer import Transformer
from recalign.trainer.start_values import with_item_knowledge
from tests.corpus import make_corpus

CONFIG = T5Config(
    vocab_size=768,
    emb_dim=16,
    num_heads=2,
    num_encoder_layers=1,
    num_decoder_layers=2,
    head_dim=8,
    mlp_dim=16,
    dropout_rate=0.0,
    logits_via_embedding=True,
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    make_corpus("tokens", directory, item_tokens=True)
    return open_dataset("tokens", directory)


def started(dataset, shares):
    return with_item_knowledge(CONFIG.init(jax.random.key(0)), CONFIG, dataset, shares, seed=0)


def items_of(params, dataset):
    tokens = dataset.item_tokens
    table = np.asarray(params["token_embedder"]["embedding"])
    return np.split(table, [tokens.first, tokens.first + tokens.count])


def test_rows_are_as_near_as_the_items(dataset):
    before, rows, after = items_of(started(dataset, {"transitions": 1.0}), dataset)
    vectors = token_vectors(dataset, "transitions", CONFIG.emb_dim, seed=0)
    # A rotation leaves products as they are.
    known = np.any(vectors != 0, axis=1)
    np.testing.assert_allclose(
        rows[known] @ rows[known].T, vectors[known] @ vectors[known].T, atol=1e-3
    )
    untouched = items_of(CONFIG.init(jax.random.key(0)), dataset)
    np.testing.assert_array_equal(before, untouched[0])
    np.testing.assert_array_equal(after, untouched[2])


def test_shares_are_parts_of_the_variance(dataset):
    _, rows, _ = items_of(started(dataset, {"text": 0.64}), dataset)
    _, random, _ = items_of(CONFIG.init(jax.random.key(0)), dataset)
    vectors = token_vectors(dataset, "text", CONFIG.emb_dim, seed=0)
    # 0.6 and 0.8 are the roots of what is left to chance and of the share. The ten words of the
    # titles give fewer numbers than a row has: the row's mean square is still 1.
    known = rows - 0.6 * random
    wider = CONFIG.emb_dim / vectors.shape[1]
    np.testing.assert_allclose(known @ known.T, 0.64 * wider * vectors @ vectors.T, atol=1e-3)


def test_the_decoder_begins_by_copying(dataset):
    params = started(dataset, {"text": 0.5})
    attention = params["decoder"]["layers"]["encoder_decoder_attention"]
    for value, out in zip(attention["value"]["kernel"], attention["out"]["kernel"], strict=True):
        np.testing.assert_allclose(value @ out, np.eye(CONFIG.emb_dim), atol=1e-5)
    tokens = jnp.ones((1, 4), jnp.int32)
    logits = jax.jit(Transformer(CONFIG).apply)({"params": params}, tokens, tokens)
    assert jnp.isfinite(logits).all()
    assert jax.tree.structure(params) == jax.tree.structure(CONFIG.init(jax.random.key(0)))
