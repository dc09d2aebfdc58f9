"""Beam search beside T5X's and beside its own encoder, and what the trie of valid IDs costs.

    PYTHONPATH=. python tests/benchmarks/decode.py [--rounds 7] [--items 12000 1000000 10000000]

Batch 8, inputs 512, targets 8, beam 20, width 256, 4+4 layers, float32, vocabulary 32,128; the
IDs I1 … I12000 in T5's own pieces where the shared folder (RECALIGN_SHARED) has its vocabulary,
else made-up IDs of 326 pieces. Prints one JSON line:

- `speedup_vs_t5x`: T5X's beam search over ours, both unconstrained, and `t5x`: how their beams
  compare; null where T5X cannot be imported.
- `unconstrained_over_encode`, `constrained_over_encode`: a search, encoding included, over
  encoding alone.
- `trie_share`: of a constrained search's time, looking up children and their logits.
- `item_tokens`: seconds a user with a token an ID, over those with the IDs' pieces: same weights,
  same inputs, only items as answers, in one run.
- `exact_ranking`: scoring 100 candidates an example exactly, over searching them with 20 beams.
- `trie`: by items: nodes, bytes, seconds to build it, seconds of one step's lookup.

Ratios are medians over rounds in which all programs run in turn; `…_processor` counts processor
seconds instead of elapsed ones.
"""

import argparse
import dataclasses
import functools
import json
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from common import (
    BATCH,
    CONFIG,
    INPUTS,
    TARGETS,
    VOCABULARY,
    Timings,
    drawn_tokens,
    rounded,
    seeded_params,
    shared_folder,
    t5x_model,
)

from recalign.model.decode import Beams, beam_decode
from recalign.model.score import score_candidates
from recalign.model.t5.transformer import Transformer
from recalign.model.trie import Trie
from tests.t5x_names import to_t5x

BEAMS, CATALOGUE = 20, 12_000
PIECES, FIRST_PIECE, LETTER = 326, 1_000, 28
# Two float32 programs that sum in another order: scores this near may stand in either order.
TIE = 1e-4


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--items",
        type=int,
        nargs="*",
        default=[CATALOGUE, 1_000_000, 10_000_000],
        help="sizes of the catalogues whose tries are built and measured",
    )
    options = parser.parse_args()

    config = dataclasses.replace(CONFIG, unroll_layers=True)
    params = seeded_params(config)
    inputs_BxL = jnp.asarray(drawn_tokens(BATCH, INPUTS, seed=1))
    trie, whole = catalogue_trie(), item_token_trie()
    search = jax.jit(
        functools.partial(beam_decode, network=config, beam_size=BEAMS, max_decode_len=TARGETS)
    )
    pools_BxC = jnp.asarray(drawn_pools())
    allowed_BxN = trie.node_mask(pools_BxC)
    score = jax.jit(functools.partial(score_candidates, network=config))
    encode = jax.jit(
        lambda params, x: Transformer(config).apply({"params": params}, x, method="encode")
    )
    searches = {
        "unconstrained": lambda: search(params, encoder_input_tokens_BxL=inputs_BxL),
        "constrained": lambda: search(params, encoder_input_tokens_BxL=inputs_BxL, trie=trie),
        "item_tokens": lambda: search(params, encoder_input_tokens_BxL=inputs_BxL, trie=whole),
        "pool": lambda: search(
            params,
            encoder_input_tokens_BxL=inputs_BxL,
            trie=trie,
            allowed_BxN=allowed_BxN,
        ),
    }
    programs = {
        "encode": lambda: encode(params, inputs_BxL),
        **searches,
        "scored": lambda: score(
            params, encoder_input_tokens_BxL=inputs_BxL, trie=trie, candidates_BxC=pools_BxC
        ),
    }
    if theirs := t5x_search(params, inputs_BxL):
        programs["t5x"] = theirs
    timings = Timings(programs, options.rounds)
    lookup = Timings({"lookup": trie_lookup(trie)}, 3 * options.rounds)

    figures: dict[str, Any] = {"speedup_vs_t5x": None, "t5x": None}
    if theirs:
        figures |= both(timings, "speedup_vs_t5x", "t5x", "unconstrained")
        tokens_BxKxT, aux = theirs()
        figures["t5x"] = comparison(searches["unconstrained"](), tokens_BxKxT, aux["scores"])
    figures |= both(timings, "unconstrained_over_encode", "unconstrained", "encode")
    figures |= both(timings, "constrained_over_encode", "constrained", "encode")
    figures["trie_share"] = trie.depth * lookup.seconds("lookup") / timings.seconds("constrained")
    figures["item_tokens"] = {
        **both(timings, "time_over_pieces", "item_tokens", "constrained"),
        "seconds_a_user": timings.seconds("item_tokens") / BATCH,
        "seconds_a_user_of_pieces": timings.seconds("constrained") / BATCH,
    }
    figures["exact_ranking"] = both(timings, "time_over_beams", "scored", "pool")
    figures["seconds"] = {name: timings.seconds(name) for name in programs}
    figures["trie"] = {str(items): trie_figures(items, options.rounds) for items in options.items}
    print(json.dumps(rounded(figures)))


def both(timings: Timings, name: str, above: str, below: str) -> dict[str, float]:
    """A ratio of elapsed and of processor seconds."""
    return {
        name: timings.ratio(above, below),
        f"{name}_processor": timings.processor_ratio(above, below),
    }


def t5x_search(params: Any, inputs_BxL: jax.Array) -> Any | None:
    """T5X's own beam search on the same weights."""
    model = t5x_model(CONFIG)
    if model is None:
        return None
    batch = {
        "encoder_input_tokens": inputs_BxL,
        "decoder_input_tokens": jnp.zeros((BATCH, TARGETS), jnp.int32),
    }
    search = jax.jit(
        functools.partial(model.predict_batch_with_aux, num_decodes=BEAMS, return_all_decodes=True)
    )
    named = to_t5x(params)
    return lambda: search(named, batch)


def comparison(ours: Beams, tokens_BxKxT: jax.Array, scores_BxK: jax.Array) -> dict[str, Any]:
    """How our beams and T5X's compare.

    `differ_beyond_ties` counts T5X's beams that are neither ours at a rank of (nearly) the same
    score nor, where ours lack them, (nearly) as bad as the worst of ours.
    """
    own_tokens, own_scores = np.asarray(ours.tokens_BxKxT), np.asarray(ours.scores_BxK)
    beyond = 0
    for row, (tokens_KxT, scores_K) in enumerate(
        zip(np.asarray(tokens_BxKxT), np.asarray(scores_BxK), strict=True)
    ):
        rank_of = {tuple(beam): rank for rank, beam in enumerate(own_tokens[row].tolist())}
        for tokens_T, score in zip(tokens_KxT.tolist(), scores_K, strict=True):
            rank = rank_of.get(tuple(tokens_T), 0)
            beyond += bool(abs(own_scores[row, rank] - score) > TIE)
    equal = (own_tokens == np.asarray(tokens_BxKxT)).all(-1)
    return {
        "beams": equal.size,
        "equal_at_their_rank": int(equal.sum()),
        "differ_beyond_ties": beyond,
        "largest_score_difference": float(np.abs(own_scores - np.asarray(scores_BxK)).max()),
    }


def catalogue_trie() -> Trie:
    """I1 … I12000 in T5's pieces, or as many made-up IDs."""
    path = shared_folder() / "t5_vocab" / "sentencepiece.model"
    if not path.exists():
        return Trie.from_ragged(*made_up_ids(CATALOGUE))
    from sentencepiece import SentencePieceProcessor

    encode = SentencePieceProcessor(model_file=str(path)).encode
    return Trie.from_sequences([encode(f"I{number + 1}") for number in range(CATALOGUE)])


def item_token_trie() -> Trie:
    """The same items, a token each: rows of the vocabulary that stand in for the items' own."""
    return Trie.from_sequences([[2 + number] for number in range(CATALOGUE)])


def made_up_ids(items: int) -> tuple[np.ndarray, np.ndarray]:
    """A letter, then the item's number in base 326: all tokens in a row, and each ID's length."""
    number_S = np.arange(1, items + 1)
    digits = 1 + int(np.log(items) / np.log(PIECES))
    digit_SxD = number_S[:, None] // PIECES ** np.arange(digits - 1, -1, -1)
    is_used = digit_SxD > 0  # no leading zeros
    tokens = np.pad(FIRST_PIECE + digit_SxD % PIECES, ((0, 0), (1, 0)), constant_values=LETTER)
    return tokens[np.pad(is_used, ((0, 0), (1, 0)), constant_values=True)], 1 + is_used.sum(1)


def drawn_pools() -> np.ndarray:
    """A hundred different items for each example: [B, 100]."""
    draws = np.random.default_rng(2)
    return np.stack([draws.choice(CATALOGUE, 100, replace=False) for _ in range(BATCH)])


def trie_lookup(trie: Trie) -> Any:
    """What the trie adds to one step of a search: each beam's children, and their logits."""
    draws = np.random.default_rng(0)
    inner = np.flatnonzero(np.diff(np.asarray(trie.first_child_N1)) > 0)
    nodes_BxK = jnp.asarray(draws.choice(inner, (BATCH, BEAMS)), jnp.int32)
    logits_BxKxV = jnp.asarray(draws.standard_normal((BATCH, BEAMS, VOCABULARY), np.float32))

    @jax.jit
    def lookup(trie: Trie, nodes_BxK: jax.Array, logits_BxKxV: jax.Array) -> jax.Array:
        child_BxKxM, valid_BxKxM = trie.children(nodes_BxK)
        at_child = jnp.take_along_axis(logits_BxKxV, trie.token_N[child_BxKxM], axis=-1)
        return jnp.where(valid_BxKxM, at_child, -jnp.inf)

    return lambda: lookup(trie, nodes_BxK, logits_BxKxV)


def trie_figures(items: int, rounds: int) -> dict[str, float]:
    """Size and times of the trie of so many made-up IDs."""
    ids = made_up_ids(items)
    start = time.perf_counter()
    trie = jax.block_until_ready(Trie.from_ragged(*ids))
    built = time.perf_counter() - start
    step = Timings({"step": trie_lookup(trie)}, 3 * rounds)
    return {
        "nodes": trie.num_nodes,
        "megabytes": sum(leaf.nbytes for leaf in jax.tree.leaves(trie)) / 1e6,
        "build_seconds": built,
        "step_seconds": step.seconds("step"),
    }


if __name__ == "__main__":
    main()
