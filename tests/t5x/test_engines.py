"""Two engines, one result: losses of training, beams and metrics of decoding."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from t5x import utils

from recalign.errors import UserError
from recalign.model.network import shift_right
from recalign.preprocessors.packed_stream import PackedStream
from recalign.preprocessors.stream import TOKENS, Stream
from recalign.t5x.dataset import resumed_dataset
from recalign.t5x.mixture import decode_lengths, vocabulary
from recalign.trainer import evaluation, partitioning
from recalign.trainer.decoding import POOL, BeamDecoder
from recalign.trainer.loop import train
from recalign.trainer.optimization import optimizer_of
from recalign.trainer.schedule import make_schedule
from recalign.trainer.state import (
    TrainState,
    make_train_step,
    nothing_yet,
    random_params,
)
from recalign.weights import load_params
from tests.corpus import make_corpus

from .engine import T5X, batch_of

EXAMPLES = 24


def own_losses(experiment, params, batches):
    """The summed loss of each step by the own engine."""
    mesh = partitioning.make_mesh()
    optimizer = optimizer_of(experiment, 0)
    step = make_train_step(
        experiment.network,
        optimizer,
        mesh,
        seed=0,
        microbatches=1,
        log_period=1,
        z_loss=experiment.z_loss,
        label_smoothing=experiment.label_smoothing,
        loss_normalizing_factor=experiment.loss_normalizing_factor,
    )
    state = TrainState(params, optimizer.init(params), nothing_yet())
    # Copies: the step gives its state's buffers away, and each is to be one of its own.
    state = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), state)
    losses = []
    for batch in batches:
        read = [name for name in batch if name.startswith(TOKENS) and "position" not in name]
        state, outcome = step(state, {name: batch[name] for name in read})
        losses.append(float(outcome.parts.loss))
    return losses, state.params


SMALL = {
    "VOCAB_SIZE": 768,
    "LOGITS_VIA_EMBEDDING": True,
    "EVERY_PREFIX": True,
    "OPTIMIZER_NAME": "adamw",
    "LEARNING_RATE": 0.003,
    "LEARNING_RATE_FACTORS": "constant * linear_warmup * cosine_decay",
    "STEPS_PER_CYCLE": 30,
    "WEIGHT_DECAY": 0.1,
    "LABEL_SMOOTHING": 0.1,
}
"""What a small model from random weights is trained with, items as tokens."""


@pytest.fixture(scope="module")
def items(data_dir):
    """A dataset with item tokens; the name of its mixture."""
    dataset = make_corpus("items", data_dir, item_tokens=True)
    assert dataset.item_tokens.vocab_size == SMALL["VOCAB_SIZE"]
    return "ut_at_items"


@pytest.mark.parametrize("macros", [{}, SMALL], ids=["fine-tuning", "item tokens"])
def test_losses_of_twenty_steps_on_the_same_batches_of_a_mixture(
    experiment, items, model_dir, macros
):
    made = experiment(**{**macros, **({"MIXTURE_OR_TASK_NAME": items} if macros else {})})
    params = jax.tree.map(np.asarray, random_params(made.network, 0, partitioning.make_mesh()))
    stream = Stream.of(made.mixture_or_task_name, 0)
    rows = slice(0, made.batch_size)
    batches = list(
        stream.batches(0, made.task_feature_lengths, made.batch_size, rows)
        .take(20)
        .as_numpy_iterator()
    )
    own, _ = own_losses(made, params, batches)
    theirs = T5X(made, params).losses(
        [batch_of(batch["inputs"], batch["targets"]) for batch in batches], model_dir
    )
    assert own[-1] < own[0]
    np.testing.assert_allclose(own, theirs, rtol=2e-4)


def test_t5x_reads_the_same_packed_rows_and_has_the_same_losses(experiment, model_dir):
    made = experiment(PACK=True, TASK_FEATURE_LENGTHS={"inputs": 192, "targets": 48})
    lengths, size = made.task_feature_lengths, made.batch_size
    params = jax.tree.map(np.asarray, random_params(made.network, 0, partitioning.make_mesh()))
    stream = PackedStream.of(Stream.of(made.mixture_or_task_name, 0), lengths)
    batches = list(stream.batches(0, lengths, size, slice(0, size)).take(6).as_numpy_iterator())
    configured = utils.DatasetConfig(
        mixture_or_task_name=made.mixture_or_task_name,
        task_feature_lengths=lengths,
        split="train",
        shuffle=True,
        seed=0,
        batch_size=size,
        pack=True,
    )

    def read(shard, shards):
        dataset = resumed_dataset(
            configured, shard, shards, None, model_dir=model_dir, initial_step=0
        )
        return list(dataset.take(6).as_numpy_iterator())

    theirs, halves = read(0, 1), [read(shard, 2) for shard in range(2)]
    for number, (own, batch) in enumerate(zip(batches, theirs, strict=True)):
        for name, value in batch.items():
            joined = np.concatenate([half[number][name] for half in halves])
            np.testing.assert_array_equal(joined, value, err_msg=name)
        for side, name in (("encoder", "inputs"), ("decoder", "targets")):
            for kind in ("segment_ids", "positions"):
                np.testing.assert_array_equal(batch[f"{side}_{kind}"], own[f"{name}_{kind}"])
        np.testing.assert_array_equal(batch["encoder_input_tokens"], own["inputs"])
        np.testing.assert_array_equal(batch["decoder_target_tokens"], own["targets"])
        shifted = shift_right(own["targets"], own["targets_segment_ids"])
        np.testing.assert_array_equal(batch["decoder_input_tokens"], shifted)
    losses, _ = own_losses(made, params, batches)
    np.testing.assert_allclose(losses, T5X(made, params).losses(theirs, model_dir), rtol=2e-4)
    assert max(batch["inputs_segment_ids"].max() for batch in batches) > 1


def own_evaluation(experiment, params, split, *, constrained=False):
    """(evaluated, records) a task, with T5X's decoding length."""
    experiment = dataclasses.replace(experiment, constrained=constrained)
    lengths = decode_lengths(experiment.mixture_or_task_name, experiment.task_feature_lengths)
    decoder = BeamDecoder(experiment.network, partitioning.make_mesh(), experiment.beam_size)
    for task in evaluation.tasks_with_metrics(experiment.mixture_or_task_name, split):
        evaluated = evaluation.load(task, split, experiment, EXAMPLES)
        evaluated = dataclasses.replace(evaluated, max_decode_len=lengths["targets"])
        yield evaluated, evaluation.beams_of_all(evaluated, params, decoder, experiment)


@pytest.mark.parametrize("decoder", ["stock", "fast"])
def test_metrics_of_one_checkpoint(trained, decoder):
    made, params = trained
    theirs = T5X(made, params, decoder).metrics("test", EXAMPLES)
    hits = 0.0
    for evaluated, records in own_evaluation(made, params, "test"):
        own = evaluation.measure(evaluated, records)
        for name, value in theirs[evaluated.task.name].items():
            assert own[name] == pytest.approx(float(value), abs=1e-6), name
        hits += own.get("hr@5", 0.0) + own.get("valid_id_rate", 0.0)
    assert set(theirs) == {"retrieval_tiny", "ranking_tiny", "rating_tiny"}
    assert hits > 0  # the model answers with IDs: the comparison is not of nothing


@pytest.mark.parametrize("decoder", ["stock", "fast", "constrained"])
def test_metrics_of_item_tokens(experiment, items, decoder):
    macros = {**SMALL, "TRAIN_STEPS": 240, "STEPS_PER_CYCLE": 360, "EVERY_PREFIX": False}
    made = experiment(MIXTURE_OR_TASK_NAME=items, **macros)
    train(made)
    params, _ = load_params(made.model_dir, made.network)
    theirs = T5X(made, params, decoder).metrics("test", EXAMPLES)
    ranked = 0.0
    for evaluated, records in own_evaluation(
        made, params, "test", constrained=decoder == "constrained"
    ):
        own = evaluation.measure(evaluated, records)
        for name, value in theirs[evaluated.task.name].items():
            if decoder == "constrained":
                if "@" not in name:
                    continue
                name += "_candidates" if POOL in evaluated.ways else ""
            assert own[name] == pytest.approx(float(value), abs=1e-6), name
        ranked += own.get("hr@5", 0.0)
    assert set(theirs) == {f"{kind}_items" for kind in ("retrieval", "ranking", "rating")}
    assert ranked > 0  # the comparison is not of nothing


def test_a_table_without_rows_for_the_items_is_refused(experiment, items):
    with pytest.raises(UserError, match=r"VOCAB_SIZE = 640 is too small .*VOCAB_SIZE = 768"):
        vocabulary(items, vocab_size=640)
    with pytest.raises(UserError, match=r"VOCAB_SIZE = 640 is too small .*VOCAB_SIZE = 768"):
        train(experiment(MIXTURE_OR_TASK_NAME=items))


def test_metrics_of_constrained_decoding(trained):
    made, params = trained
    theirs = T5X(made, params, "constrained").metrics("test", EXAMPLES)
    assert theirs["retrieval_tiny"]["valid_id_rate"] == 1.0
    for evaluated, records in own_evaluation(made, params, "test", constrained=True):
        own = evaluation.measure(evaluated, records)
        ending = "_candidates" if POOL in evaluated.ways else ""
        for name, value in theirs[evaluated.task.name].items():
            if "@" in name:
                assert own[f"{name}{ending}"] == pytest.approx(float(value), abs=1e-6), name
    assert theirs["rating_tiny"]["auc_roc"] == pytest.approx(exact_auc(made, params), abs=1e-6)


def exact_auc(made, params):
    """AUC of exact log P(yes) - log P(no), by teacher forcing."""
    from recalign.metrics import auc_roc
    from recalign.model.score import score_candidates
    from recalign.model.trie import Trie

    (task,) = [
        task
        for task in evaluation.tasks_with_metrics(made.mixture_or_task_name, "test")
        if task.evaluated_as == "rating"
    ]
    examples = evaluation.load(task, "test", made, EXAMPLES).examples
    vocabulary = task.output_features["targets"].vocabulary
    answers = Trie.from_sequences([vocabulary.encode(answer) for answer in ("yes", "no")])
    inputs_BxL = np.zeros((len(examples), made.task_feature_lengths["inputs"]), np.int32)
    for number, example in enumerate(examples):
        inputs_BxL[number, : len(example["inputs"])] = example["inputs"]
    log_probs_BxC = np.asarray(
        score_candidates(params, made.network, inputs_BxL, answers, np.array([[0, 1]]))
    )
    labels = np.array([int(example["label"]) for example in examples])
    return auc_roc(log_probs_BxC[:, 0] - log_probs_BxC[:, 1], labels)


@pytest.mark.parametrize("decoder", ["stock", "fast"])
def test_beams_token_by_token(trained, decoder):
    made, params = trained
    run = T5X(made, params, decoder)
    predict = jax.jit(run.model.predict_batch_with_aux)
    compared = 0
    for evaluated, records in own_evaluation(made, params, "validation"):
        inputs_BxL = np.zeros((len(records), made.task_feature_lengths["inputs"]), np.int32)
        for number, example in enumerate(evaluated.examples):
            inputs_BxL[number, : len(example["inputs"])] = example["inputs"]
        empty_BxT = np.zeros((len(records), evaluated.max_decode_len), np.int32)
        tokens_BxKxT, values = predict(run.state.params, batch_of(inputs_BxL, empty_BxT))
        own = evaluation.stacked_beams(records)
        np.testing.assert_array_equal(tokens_BxKxT, own.tokens_BxKxT)
        np.testing.assert_allclose(values["scores"], own.scores_BxK, atol=5e-5)
        compared += len(records)
    assert compared >= 3 * EXAMPLES


def test_learning_rates_and_decoding_lengths(experiment):
    from t5x import utils

    made = experiment()
    theirs = utils.create_learning_rate_scheduler(
        factors="constant * linear_warmup", base_learning_rate=0.02, warmup_steps=8
    )
    own = make_schedule(0.02, 8)
    np.testing.assert_allclose([own(n) for n in range(20)], [theirs(n) for n in range(20)])
    task = evaluation.tasks_with_metrics("retrieval_tiny", "test")[0]
    depth = evaluation.answer_trie(task).depth
    assert decode_lengths(made.mixture_or_task_name, made.task_feature_lengths) == {
        "inputs": made.task_feature_lengths["inputs"],
        "targets": depth,
    }
