import json

import numpy as np
import pytest
from etils import epath

from recalign.errors import UserError
from recalign.trainer import evaluate, evaluation, train
from recalign.trainer.decoding import HostBeams, batches_by_length, bucket_lengths, filled_up
from recalign.trainer.predictions import PredictionFile, stacked_beams
from recalign.trainer.recommend import Recommender, recommend
from tests.trainer.conftest import FILES, bindings


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory):
    """A run with validation and a test at its end."""
    from recalign.trainer import load_experiment

    directory = str(tmp_path_factory.mktemp("trained"))
    experiment = load_experiment(
        FILES,
        bindings(
            MODEL_DIR=directory,
            DATA_DIR=data_dir,
            TRAIN_STEPS=4,
            EVAL_PERIOD=2,
            EVAL_TASKS=("retrieval_tiny",),
            TEST_SPLIT="test",
            CONSTRAINED=True,
        ),
    )
    return experiment, train(experiment)


def predictions(experiment, name="retrieval_tiny-test"):
    path = experiment.directory / "predictions" / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_results(trained):
    experiment, results = trained
    assert json.loads((experiment.directory / "results.json").read_text()) == results
    assert results["dataset"] == "tiny"
    assert results["mixture"] == "ut_at_tiny"
    assert results["split"] == "test"
    assert results["engine"] == "recalign"
    assert results["checkpoint_step"] in (2, 4)
    assert set(results["tasks"]) == {"retrieval_tiny", "ranking_tiny", "rating_tiny"}
    retrieval, ranking = results["tasks"]["retrieval_tiny"], results["tasks"]["ranking_tiny"]
    assert retrieval["num_examples"] == 60
    assert retrieval["valid_id_rate"] == 1.0  # constrained
    assert {"hr@1", "hr@5", "hr@1_candidates", "ndcg@5_candidates"} <= set(ranking)
    assert "valid_candidate_rate_candidates" not in ranking
    assert "auc_roc" in results["tasks"]["rating_tiny"]
    assert results["references"]["popularity"]["retrieval_tiny"]["num_examples"] == 60


def test_validation_lines_and_the_best_checkpoint(trained):
    experiment, results = trained
    log = (experiment.directory / "metrics.jsonl").read_text().splitlines()
    found = [line for line in map(json.loads, log) if line["kind"] == "eval"]
    assert [line["step"] for line in found] == [2, 4]
    for line in found:
        assert line["selection"] == line["tasks"]["retrieval_tiny"]["hr@10"]
        assert line["loss"] > 0
    best = max((line["selection"], line["step"]) for line in found)[1]
    assert results["checkpoint_step"] == best


def test_predictions_say_what_was_asked_and_answered(trained):
    experiment, _ = trained
    for record in predictions(experiment):
        assert record["prompt"].endswith("?") or "item" in record["prompt"].lower()
        assert record["target"].startswith("I")
        assert len(record["beams"]) == len(record["log_probs"]) == 4
        assert len(set(record["beams"])) == 4
        assert record["scores"] == sorted(record["scores"], reverse=True)
    for record in predictions(experiment, "ranking_tiny-test"):
        pool = record["prompt"]
        assert all(beam in pool for beam in record["candidates_beams"])
    assert {record["label"] for record in predictions(experiment, "rating_tiny-test")} <= {0, 1}
    assert [record["row"] for record in predictions(experiment)] == list(range(60))


def test_an_interrupted_evaluation_goes_on(trained, monkeypatch, capfd):
    experiment, results = trained
    path = experiment.directory / "predictions" / "retrieval_tiny-test.jsonl"
    whole = path.read_text()
    kept = whole.splitlines(keepends=True)
    path.write_text("".join(kept[40:55]) + kept[3][:30])  # half a line at its end
    decoded = []
    decode = evaluation.decode
    monkeypatch.setattr(
        evaluation, "decode", lambda *a: (decoded.append(len(a[3].numbers)), decode(*a))[1]
    )
    again = evaluate(experiment, "test", results["checkpoint_step"])
    assert again == results
    assert path.read_text() == whole
    assert 0 < sum(decoded) < 60 + 8  # the other tasks' predictions are whole
    assert "15 of 60 examples were predicted before" in capfd.readouterr().err


def test_other_settings_begin_anew(trained):
    experiment, results = trained
    few = evaluate(experiment, "test", results["checkpoint_step"], max_examples=5)
    assert few["tasks"]["retrieval_tiny"]["num_examples"] == 5
    assert few["references"]["popularity"]["retrieval_tiny"]["num_examples"] == 5
    assert len(predictions(experiment)) == 5


def test_a_checkpoint_that_is_not_there(trained):
    with pytest.raises(UserError, match="no checkpoint of step 3"):
        evaluate(trained[0], "test", 3)


def test_batches_hold_every_example_once_at_a_length_that_fits():
    generator = np.random.default_rng(0)
    inputs = [np.full(n, 7, np.int32) for n in generator.integers(1, 70, 50)]
    seen = []
    for batch in batches_by_length(inputs, longest=64, batch_size=8):
        assert batch.inputs_BxL.shape[0] == 8
        assert batch.inputs_BxL.shape[1] in bucket_lengths(64)
        for number, row in zip(batch.numbers, batch.inputs_BxL, strict=False):
            assert np.count_nonzero(row) == min(len(inputs[number]), 64)
        assert not batch.inputs_BxL[len(batch.numbers) :].any()
        seen += batch.numbers.tolist()
    assert sorted(seen) == list(range(50))


def test_lengths_of_few_examples_are_not_compiled_for_themselves():
    inputs = [np.full(n, 7, np.int32) for n in [10] * 100 + [30] * 3 + [40] * 2]
    shapes = [batch.inputs_BxL.shape for batch in batches_by_length(inputs, 64, batch_size=8)]
    assert shapes == [(8, 48)] + [(8, 16)] * 13


def test_bucket_lengths():
    assert bucket_lengths(512) == [128, 256, 384, 512]
    assert bucket_lengths(20) == [8, 16, 20]
    assert bucket_lengths(3) == [3]


def test_filled_up():
    rows = [np.array([1, 2]), np.array([3, 4])]
    np.testing.assert_array_equal(filled_up(rows, 3), [[1, 2], [3, 4], [3, 4]])


def test_beams_survive_the_file(tmp_path):
    record = {
        "index": 0,
        "tokens": [[5, 1], [7]],
        "scores": [float(np.float32(-0.1)), -2.0],
        "log_probs": [float(np.float32(-0.3)), -4.0],
    }
    file = PredictionFile(epath.Path(tmp_path), "x", {"a": 1})
    file.append([record])
    beams = stacked_beams(PredictionFile(epath.Path(tmp_path), "x", {"a": 1}).finish())
    expected = HostBeams(
        np.array([[[7, 0], [5, 1]]]),
        np.array([[-2.0, -0.1]], np.float32),
        np.array([[-4.0, -0.3]], np.float32),
    )
    for ours, theirs in zip(beams, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert PredictionFile(epath.Path(tmp_path), "x", {"a": 2}).records == {}


@pytest.fixture(scope="module")
def recommender(trained):
    return Recommender(trained[0].model_dir)


def test_shows_the_model_what_evaluation_shows_it(trained, recommender):
    """The same history by both ways: the same prompt, and the same probability of an item."""
    experiment, results = trained
    task = evaluation.tasks_with_metrics("retrieval_tiny", "test")[0]
    for example in evaluation.load(task, "test", experiment, 5).examples:
        history = [int(item) for item in example["history"]]
        prompt = np.trim_zeros(recommender._inputs(history)[0], "b")
        np.testing.assert_array_equal(prompt, example["inputs"])
    evaluate(experiment, "test", results["checkpoint_step"], max_examples=5)
    ids = [recommender._catalogue.ids[item] for item in history]
    probability_of = {answer.id: answer.log_prob for answer in recommender.recommend(ids, k=50)}
    record = predictions(experiment)[4]
    for beam, log_prob in zip(record["beams"], record["log_probs"], strict=True):
        np.testing.assert_allclose(probability_of[beam], log_prob, rtol=1e-4)


def test_only_some_items(recommender):
    assert {answer.id for answer in recommender.recommend(["I1"], 10, ["I7", "I3", "I9"])} == {
        "I7",
        "I3",
        "I9",
    }
    answers = recommender.recommend(["I1"], k=50)
    assert len({answer.id for answer in answers}) == 50
    assert [a.log_prob for a in answers] == sorted((a.log_prob for a in answers), reverse=True)
    assert all(answer.title for answer in answers)


def test_raw_ids_are_understood(recommender):
    raw = recommender._catalogue.raw_ids
    assert recommender.recommend([raw[3]], 3) == recommender.recommend(["I4"], 3)


def test_mistakes(trained, recommender, tmp_path):
    with pytest.raises(UserError, match="'I99999'"):
        recommender.recommend(["I1", "I99999"])
    with pytest.raises(UserError, match="empty history"):
        recommender.recommend([])
    with pytest.raises(UserError, match="allowed"):
        recommender.recommend(["I1"], only=["nothing"])
    with pytest.raises(UserError, match="no run"):
        Recommender(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        recommend(trained[0].model_dir, ["I1"], only_file=tmp_path / "x")
