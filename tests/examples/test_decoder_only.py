"""A network from outside the package, through everything that the package does with one."""

import contextlib
import dataclasses
import io
import itertools
import json
import pathlib
import re

import gin
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recalign.errors import UserError
from recalign.model.decode import beam_decode
from recalign.model.score import score_candidates
from recalign.model.trie import Trie
from recalign.plan.programs import Layout, mesh_of, sizes
from recalign.trainer.experiment import load_experiment
from recalign.trainer.loop import train
from recalign.trainer.recommend import Recommender
from recalign.trainer.run_config import load_run
from recalign.weights import load_params
from tests.trainer.conftest import TINY

from .decoder_only import DecoderOnly

FILE = str(pathlib.Path(__file__).with_name("decoder_only.gin"))
MODULE = "tests.examples.decoder_only"
OF_T5 = {"EMB_DIM", "NUM_HEADS", "NUM_ENCODER_LAYERS", "NUM_DECODER_LAYERS", "HEAD_DIM", "MLP_DIM"}
NETWORK = DecoderOnly(vocab_size=8)
EOS, LENGTH = 1, 3


@pytest.fixture(scope="module", autouse=True)
def _compilation(quick_compilation):
    yield
    gin.clear_config()


@pytest.fixture(scope="module")
def params():
    return jax.jit(NETWORK.init)(jax.random.key(0))


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory):
    """A run of a few steps, and its experiment."""
    macros = {name: value for name, value in TINY.items() if name not in OF_T5} | {
        "MIXTURE_OR_TASK_NAME": "retrieval_mlm_tiny",
        "MODEL_DIR": str(tmp_path_factory.mktemp("own") / "run"),
        "DATA_DIR": data_dir,
        "TRAIN_STEPS": 30,
        "LEARNING_RATE": 0.01,
        "OPTIMIZER_NAME": "adamw",
        "CHECKPOINT_PERIOD": 0,
        "EVAL_PERIOD": 30,
        "LOG_PERIOD": 10,
        "TEST_SPLIT": "test",
        "CONSTRAINED": True,
        "PACK": True,
    }
    experiment = load_experiment([FILE], [f"{name} = {it!r}" for name, it in macros.items()])
    with contextlib.redirect_stderr(io.StringIO()) as said:
        results = train(experiment)
    (experiment.directory / "said.txt").write_text(said.getvalue())
    return experiment, results


def every_answer(longest):
    """All sequences of tokens 2 to 7 that end within `longest` tokens, EOS not counted."""
    numbers = range(2, NETWORK.vocab_size)
    return [
        list(answer)
        for length in range(longest)
        for answer in itertools.product(numbers, repeat=length)
    ]


def by_reading(params, inputs_L, answers):
    """Log-probability of each answer by `logits`, the whole of it read at once."""
    targets = np.zeros((len(answers), LENGTH), np.int32)
    for row, answer in enumerate(answers):
        targets[row, : len(answer) + 1] = [*answer, EOS]
    inputs = np.broadcast_to(inputs_L, (len(answers), len(inputs_L)))
    logits = jax.jit(NETWORK.logits)(params, {"inputs": inputs, "targets": targets}, None)
    every = np.asarray(jax.nn.log_softmax(logits))
    found = np.take_along_axis(every, targets[..., None], axis=-1)[..., 0]
    return np.where(targets > 0, found, 0).sum(-1)


def test_beam_search_finds_what_reading_every_answer_finds(params):
    inputs = np.array([[3, 5, 2, 7, 4], [6, 2, 0, 0, 0]], np.int32)
    answers = every_answer(LENGTH)
    # Token 0 may stand in no answer: the trie holds all others.
    trie = Trie.from_sequences(answers[1:], EOS)
    search = jax.jit(beam_decode, static_argnames=("network", "beam_size", "max_decode_len"))
    beams = search(params, NETWORK, inputs, beam_size=20, max_decode_len=LENGTH, trie=trie, alpha=0)
    for row, inputs_L in enumerate(inputs):
        log_probs = by_reading(params, inputs_L, answers[1:])
        best = np.sort(log_probs)[-5:]
        np.testing.assert_allclose(beams.log_probs_BxK[row, -5:], best, rtol=1e-5)


def test_exact_scores_are_those_of_reading(params):
    inputs = np.array([[3, 5, 2, 7, 4], [6, 2, 0, 0, 0]], np.int32)
    answers = every_answer(LENGTH)[1:]
    trie = Trie.from_sequences(answers, EOS)
    asked = np.array([[4, 0, 17, 30], [8, 9, 10, -1]])
    scored = jax.jit(score_candidates, static_argnames="network")(
        params, NETWORK, inputs, trie, asked
    )
    for row, (inputs_L, numbers) in enumerate(zip(inputs, asked, strict=True)):
        chosen = [answers[number] for number in numbers if number >= 0]
        found = by_reading(params, inputs_L, chosen)
        np.testing.assert_allclose(scored[row, : len(chosen)], found, rtol=1e-5)


def test_examples_of_a_packed_row_see_themselves_alone(params):
    row = {
        "inputs": [[3, 5, 2, 7, 4, 0]], "inputs_segment_ids": [[1, 1, 1, 2, 2, 0]],
        "targets": [[6, 1, 2, 5, 1]], "targets_segment_ids": [[1, 1, 2, 2, 2]],
    }  # fmt: skip
    alone = [
        {"inputs": [[3, 5, 2]], "targets": [[6, 1]]},
        {"inputs": [[7, 4]], "targets": [[2, 5, 1]]},
    ]
    as_arrays = [{name: jnp.array(it) for name, it in batch.items()} for batch in (row, *alone)]
    packed, *parts = (NETWORK.logits(params, batch, None) for batch in as_arrays)
    np.testing.assert_allclose(packed, jnp.concatenate(parts, axis=1), rtol=1e-4, atol=1e-5)


def test_it_is_trained_and_evaluated(run):
    experiment, results = run
    assert isinstance(experiment.network, DecoderOnly)
    lines = (experiment.directory / "metrics.jsonl").read_text().splitlines()
    losses = [line["loss"] for line in map(json.loads, lines) if line["kind"] == "train"]
    assert losses[-1] < losses[0] - 0.5
    assert 0 <= results["tasks"]["retrieval_tiny"]["hr@10"] <= 1
    run_file = json.loads((experiment.directory / "run.json").read_text())
    assert run_file["made_from"]["model"]["network"] == "DecoderOnly"
    ids = set()
    for line in (experiment.directory / "predictions/retrieval_tiny-test.jsonl").open():
        ids |= set(json.loads(line)["beams"])
    assert all(text.startswith("I") for text in ids), "constrained to the catalogue"


def test_its_log_says_what_packed_rows_hold_and_how_fast_it_goes(run):
    experiment, _ = run
    said = (experiment.directory / "said.txt").read_text()
    (held,) = re.findall(
        r"^packed: a step's 8 rows hold (\d+\.\d) examples on average$", said, re.M
    )
    lines = (experiment.directory / "metrics.jsonl").read_text().splitlines()
    last = [line for line in map(json.loads, lines) if line["kind"] == "train"][-1]
    # The window of the stream that the run ends in is not whole.
    assert float(held) == pytest.approx(sum(last["examples"].values()) / 30, rel=0.05)
    at_end = rf"loss {last['loss']:.4f} \| [\d.e+]+ steps/s \| [\d,]+ tokens/s"
    assert re.search(rf"^step 30 of 30 \| {at_end}$", said, re.M)
    passes = r"passes: [\d.]+ over mlm_tiny, [\d.]+ over retrieval_tiny"
    (read,) = re.findall(rf"^30 steps, (\d+) examples; {passes}$", said, re.M)
    assert int(read) == pytest.approx(30 * float(held), abs=2)
    padded = r"inputs are padded to [\d, or]+ tokens; padding takes \d+% of the places"
    assert re.search(rf"^retrieval_tiny: {padded}$", said, re.M)


def test_its_run_is_read_by_those_who_trust_the_module(run):
    experiment, _ = run
    with pytest.raises(UserError, match=f"--module {MODULE}"):
        load_run(experiment.model_dir)
    assert load_run(experiment.model_dir, modules=[MODULE]).network == experiment.network


def test_its_run_recommends_and_starts_another(run):
    experiment, _ = run
    recommender = Recommender(experiment.model_dir, modules=[MODULE])
    some = recommender.dataset.catalogue.ids[:3]
    assert len(recommender.recommend(some, 4)) == 4
    params, step = load_params(experiment.model_dir, experiment.network)
    assert step == 30
    expected = experiment.network.params_shape()
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(lambda leaf: leaf.shape, expected)


def test_the_planner_counts_its_bytes(run):
    experiment, _ = run
    layout = Layout(1, 1, False)
    found = sizes(experiment, layout, mesh_of(jax.devices()[:1], layout))
    numbers = sum(leaf.size for leaf in jax.tree.leaves(experiment.network.params_shape()))
    assert found.parameters == 4 * numbers
    deeper = dataclasses.replace(experiment.model, layers=3)
    more = sizes(
        dataclasses.replace(experiment, model=deeper), layout, mesh_of(jax.devices()[:1], layout)
    )
    assert more.activations > found.activations
