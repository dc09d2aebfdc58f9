"""Start weights of a run: of a checkpoint, or random ones that may know of the items."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from recalign.data.item_vectors import token_vectors
from recalign.data.prepared import PreparedDataset
from recalign.errors import UserError
from recalign.model.t5.config import T5Config
from recalign.trainer.experiment import Experiment
from recalign.trainer.partitioning import state_shardings
from recalign.trainer.state import random_params
from recalign.weights import load_params


def start_weights(
    experiment: Experiment, dataset: PreparedDataset | None, mesh: jax.sharding.Mesh
) -> tuple[Any, int]:
    """(parameters, step at which fine-tuning begins) as INITIAL_CHECKPOINT_PATH asks.

    Empty: random weights, with what ITEM_VECTORS asks to be known of the dataset's items. Else a
    checkpoint of any format that `recalign.weights` reads; of a run, the best. The step is the
    checkpoint's, or INITIAL_STEP where it has none (Hugging Face). The optimizer always starts
    afresh.
    """
    path = experiment.initial_checkpoint_path
    network = experiment.network
    if not path:
        params = random_params(network, experiment.seed, mesh)
        if shares := experiment.item_vectors:
            needed = f"ITEM_VECTORS = {dict(shares)}: it needs"
            if not isinstance(network, T5Config):
                raise UserError(f"{needed} T5 (Experiment.model = @T5Config())")
            if dataset is None:
                raise UserError(f"{needed} a task with a prepared dataset")
            params = with_item_knowledge(params, network, dataset, shares, experiment.seed)
        return params, experiment.initial_step
    if not isinstance(path, str):
        raise UserError(f"INITIAL_CHECKPOINT_PATH = {path!r}: one path, or () for random weights")
    shardings = state_shardings(mesh, network.params_shape())
    params, step = load_params(path, network, shardings)
    return params, step or experiment.initial_step


def with_item_knowledge(
    params: Any, config: T5Config, dataset: PreparedDataset, shares: Mapping[str, float], seed: int
) -> Any:
    """Parameters whose item tokens begin alike where the items are, and whose decoder copies.

    A row of the embedding is the sum of its random start value and a vector from each source, in a
    random rotation of its own; `shares` says what part of the row's variance comes from which of
    `item_vectors.SOURCES`. The decoder's attention to the encoder begins as the mean of what the
    encoder gives (its output matrix undoes its value matrix), so that with tied embeddings an item
    speaks for those whose rows are near its own before anything is learnt. `params` are random
    ones, as `T5Config.init` makes them, and are used up.
    """
    draws = np.random.default_rng([seed, 3])
    tokens = dataset.item_tokens
    vectors = {
        source: _rotated(token_vectors(dataset, source, config.emb_dim, seed), config, draws)
        for source in sorted(shares)
    }
    assert tokens is not None, "token_vectors refuses a dataset without"
    layers = config.num_decoder_layers
    copies = np.stack([_rotation(config, draws) for _ in range(layers)])

    def build(params: Any, vectors: Mapping[str, jax.Array], copies_NxDxH: jax.Array) -> Any:
        table = params["token_embedder"]["embedding"]
        rows = table[tokens.first : tokens.first + tokens.count]
        known = sum(
            shares[source] * jnp.any(vector != 0, axis=1, keepdims=True)
            for source, vector in vectors.items()
        )
        rows = jnp.sqrt(1.0 - known) * rows
        for source, vector in vectors.items():
            rows += jnp.sqrt(shares[source]) * config.embedding_stddev * vector
        table = table.at[tokens.first : tokens.first + tokens.count].set(rows)
        decoder = params["decoder"]
        attention = decoder["layers"]["encoder_decoder_attention"] | {
            "value": {"kernel": copies_NxDxH},
            "out": {"kernel": jnp.swapaxes(copies_NxDxH, 1, 2)},
        }
        decoder = decoder | {"layers": decoder["layers"] | {"encoder_decoder_attention": attention}}
        return params | {"token_embedder": {"embedding": table}, "decoder": decoder}

    shardings = jax.tree.map(lambda leaf: leaf.sharding, params)
    return jax.jit(build, out_shardings=shardings, donate_argnums=0)(params, vectors, copies)


def _rotated(
    vectors_TxS: Float[np.ndarray, "T S"], config: T5Config, draws: np.random.Generator
) -> Float[np.ndarray, "T D"]:
    """The vectors in `emb_dim` dimensions, of the same mean square, along random axes."""
    size = vectors_TxS.shape[1]
    axes_DxD = np.linalg.qr(draws.standard_normal((config.emb_dim, config.emb_dim)))[0]
    scale = np.sqrt(config.emb_dim / size)
    return (scale * vectors_TxS @ axes_DxD[:size]).astype(np.float32)


def _rotation(config: T5Config, draws: np.random.Generator) -> Float[np.ndarray, "D H"]:
    """A matrix whose transpose undoes it, as far as the heads have room for the width."""
    width, heads = config.emb_dim, config.num_heads * config.head_dim
    square = np.linalg.qr(draws.standard_normal((max(width, heads),) * 2))[0]
    return square[:width, :heads].astype(np.float32)
