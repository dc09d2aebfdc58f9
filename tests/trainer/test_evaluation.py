import dataclasses
import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
import seqio
from etils import epath
from sklearn.metrics import roc_auc_score

from recalign.errors import UserError
from recalign.model.decode import Beams
from recalign.model.t5.transformer import Transformer
from recalign.trainer.checkpoints import Checkpoints
from recalign.trainer.decoding import (
    BeamDecoder,
    batches_by_length,
    bucket_lengths,
    filled_up,
)
from recalign.trainer.evaluation import evaluate
from recalign.trainer.partitioning import make_mesh
from recalign.trainer.predictions import PredictionFile, stacked_beams
from recalign.trainer.state import sharded_params_shape
from tests.trainer.conftest import bindings

ROOT = pathlib.Path(__file__).resolve().parents[2]


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
    assert {"hr@1_exact", "ndcg@10_exact"} <= set(ranking)
    assert "num_examples_exact" not in ranking
    assert {"auc_roc", "auc_roc_exact"} <= set(results["tasks"]["rating_tiny"])
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
        assert re.search(r"Item ID: I\d+, .*; What would the user buy next\?$", record["prompt"])
        assert record["target"].startswith("I")
        assert len(record["beams"]) == len(record["log_probs"]) == 4
        assert len(set(record["beams"])) == 4
        assert record["scores"] == sorted(record["scores"], reverse=True)
    for record in predictions(experiment, "ranking_tiny-test"):
        pool = record["prompt"]
        assert all(beam in pool for beam in record["candidates_beams"])
    assert {record["label"] for record in predictions(experiment, "rating_tiny-test")} <= {0, 1}
    assert [record["row"] for record in predictions(experiment)] == list(range(60))


def test_exact_scores_are_the_models_probabilities(trained):
    """By teacher forcing with the plain network, one candidate at a time."""
    experiment, results = trained
    logits_of = jax.jit(Transformer(experiment.network).apply)
    _, params = Checkpoints(experiment.directory, read_only=True).restore_params(
        results["checkpoint_step"], sharded_params_shape(experiment.network, make_mesh())
    )
    for name in ("ranking_tiny", "rating_tiny"):
        task = seqio.get_mixture_or_task(name)
        vocabulary = task.output_features["targets"].vocabulary
        ids = task.source.open().catalogue.ids
        dataset = task.get_dataset(
            dict(experiment.task_feature_lengths), "test", shuffle=False, num_epochs=1
        )
        examples = list(dataset.take(3).as_numpy_iterator())
        for example, record in zip(examples, predictions(experiment, f"{name}-test"), strict=False):
            answers = [ids[item] for item in example.get("candidates", [])] or ["no", "yes"]
            for answer, log_prob in zip(answers, record["exact_log_probs"], strict=True):
                target = np.array([[*vocabulary.encode(answer), vocabulary.eos_id]])
                # One shape for all: padding on the right changes nothing before it.
                read = np.pad(target[:, :-1], ((0, 0), (1, 24 - target.shape[1])))
                inputs = np.pad(example["inputs"], (0, 96 - len(example["inputs"])))
                logits = logits_of({"params": params}, inputs[None], read)[:, : target.shape[1]]
                taken = np.take_along_axis(jax.nn.log_softmax(logits), target[..., None], axis=-1)
                np.testing.assert_allclose(log_prob, taken.sum(), rtol=1e-4)


def test_exact_metrics_are_of_the_exact_scores(trained):
    experiment, results = trained
    ranked = predictions(experiment, "ranking_tiny-test")
    pools = [re.findall(r"I\d+", record["prompt"].rpartition("are:")[2]) for record in ranked]
    hits = []
    for record, pool in zip(ranked, pools, strict=True):
        target = record["exact_log_probs"][pool.index(record["target"])]
        hits.append(target == max(record["exact_log_probs"]))
    assert results["tasks"]["ranking_tiny"]["hr@1_exact"] == pytest.approx(np.mean(hits))
    rated = predictions(experiment, "rating_tiny-test")
    scores = [yes - no for no, yes in (record["exact_log_probs"] for record in rated)]
    expected = roc_auc_score([record["label"] for record in rated], scores)
    assert results["tasks"]["rating_tiny"]["auc_roc_exact"] == pytest.approx(expected)


def test_an_interrupted_evaluation_goes_on(trained, monkeypatch, capfd):
    experiment, results = trained
    path = experiment.directory / "predictions" / "retrieval_tiny-test.jsonl"
    whole = path.read_text()
    lines = whole.splitlines(keepends=True)
    parts = path.with_suffix(".parts")
    parts.mkdir()
    (parts / "00000000.jsonl").write_text("".join(lines[40:48]))
    (parts / "00000008.jsonl").write_text("".join(lines[48:55]))
    (parts / "00000015.jsonl.part").write_text(lines[3][:30])  # was being written
    path.unlink()
    decoded = []
    start = BeamDecoder.start
    monkeypatch.setattr(
        BeamDecoder, "start", lambda *a, **k: (decoded.append(len(a[2])), start(*a, **k))[1]
    )
    again = evaluate(experiment, "test", results["checkpoint_step"])
    assert again == results
    assert path.read_text() == whole
    assert not parts.exists()
    assert 0 < sum(decoded) < 60 + 8  # the other tasks' predictions are whole
    assert "15 of 60 examples were predicted before" in capfd.readouterr().err


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_to_equal_results(trained, tmp_path, capfd):
    """SIGKILL while a line is being written; the same command again."""
    experiment, results = trained
    step = results["checkpoint_step"]
    evaluate(experiment, "test", step)
    run = tmp_path / "run"
    shutil.copytree(experiment.directory, run)
    shutil.rmtree(run / "predictions")
    (run / "results.json").unlink()
    killed = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.trainer.killed_evaluation",
            str(step),
            *bindings(
                MODEL_DIR=str(run),
                DATA_DIR=experiment.data_dir,
                CONSTRAINED=True,
                EXACT_SCORES=True,
            ),
        ],
        cwd=ROOT,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert not (run / "results.json").exists()
    assert evaluate(dataclasses.replace(experiment, model_dir=str(run)), "test", step) == results
    assert "rating_tiny: 24 of 60 examples were predicted before" in capfd.readouterr().err
    for name in ("results.json", *(f"predictions/{it}-test.jsonl" for it in results["tasks"])):
        assert (run / name).read_bytes() == (experiment.directory / name).read_bytes()


def test_other_settings_begin_anew(trained, monkeypatch):
    experiment, results = trained
    few = evaluate(experiment, "test", results["checkpoint_step"], max_examples=5)
    assert few["tasks"]["retrieval_tiny"]["num_examples"] == 5
    assert few["references"]["popularity"]["retrieval_tiny"]["num_examples"] == 5
    assert len(predictions(experiment)) == 5
    # The same weights in other arithmetic: nothing of before is taken over.
    rounded = dataclasses.replace(experiment.model, dtype="bfloat16")
    monkeypatch.setattr(BeamDecoder, "start", lambda *a, **k: pytest.fail("decoded anew"))
    with pytest.raises(pytest.fail.Exception, match="decoded anew"):
        evaluate(
            dataclasses.replace(experiment, model=rounded),
            "test",
            results["checkpoint_step"],
            max_examples=5,
        )


def test_a_checkpoint_that_is_not_there(trained):
    with pytest.raises(UserError, match="no checkpoint of step 3"):
        evaluate(trained[0], "test", 3)


def test_batches_hold_every_example_once_at_a_length_that_fits():
    generator = np.random.default_rng(0)
    inputs = [np.full(n, 7, np.int32) for n in generator.integers(1, 70, 50)]
    seen = []
    for batch in batches_by_length(inputs, longest=64, batch_size=8):
        assert batch.inputs_BxL.shape[0] == 8
        assert batch.inputs_BxL.shape[1] in range(8, 65, 8)
        for number, row in zip(batch.numbers, batch.inputs_BxL, strict=False):
            assert np.count_nonzero(row) == min(len(inputs[number]), 64)
        assert not batch.inputs_BxL[len(batch.numbers) :].any()
        seen += batch.numbers.tolist()
    assert sorted(seen) == list(range(50))


def test_lengths_of_few_examples_are_not_compiled_for_themselves():
    inputs = [np.full(n, 7, np.int32) for n in [10] * 200 + [30] * 3 + [40] * 2]
    shapes = [batch.inputs_BxL.shape for batch in batches_by_length(inputs, 64, batch_size=8)]
    assert shapes == [(8, 40)] + [(8, 16)] * 25


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
    expected = Beams(
        np.array([[[7, 0], [5, 1]]]),
        np.array([[-2.0, -0.1]], np.float32),
        np.array([[-4.0, -0.3]], np.float32),
    )
    jax.tree.map(np.testing.assert_array_equal, beams, expected)
    assert PredictionFile(epath.Path(tmp_path), "x", {"a": 2}).records == {}


def test_a_file_of_predictions_is_never_added_to(tmp_path):
    """In a bucket that would write it anew for every batch."""
    file = PredictionFile(epath.Path(tmp_path), "x", {})
    folder = tmp_path / "predictions"
    for numbers in ((3, 1), (0,), (0, 2)):
        before = {path: path.read_bytes() for path in folder.rglob("*.jsonl")}
        file.append([{"index": number, "text": "\u2028"} for number in numbers])
        assert all(path.read_bytes() == content for path, content in before.items())
        assert len(list(folder.rglob("*.jsonl"))) == len(before) + 1
    again = PredictionFile(epath.Path(tmp_path), "x", {})
    assert again.records == file.records
    assert [record["index"] for record in again.finish()] == [0, 1, 2, 3]
    assert sorted(path.name for path in folder.iterdir()) == ["x.jsonl", "x.settings.json"]
    assert PredictionFile(epath.Path(tmp_path), "x", {}).records == file.records
