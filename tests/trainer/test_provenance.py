"""A run says when what it was made from has changed, with both values and the way on."""

import concurrent.futures
import dataclasses
import importlib.metadata
import itertools
import json
import pathlib
import re
import shutil

import numpy as np
import pytest
import seqio
from sklearn.metrics import roc_auc_score

import tasks
from recalign.data import integrity
from recalign.data.interactions import ItemTable
from recalign.data.origins import differences
from recalign.data.prepare import prepare
from recalign.data.prepared import open_dataset
from recalign.errors import UserError
from recalign.report import content
from recalign.report.run import read_run
from recalign.trainer import provenance
from recalign.trainer.evaluation import evaluate
from recalign.trainer.experiment import load_experiment
from recalign.trainer.loop import train
from recalign.trainer.provenance import origin
from recalign.trainer.recommend import Recommender
from recalign.wording import Prompt
from tests.corpus import log_of, make_corpus, random_sequences, titles
from tests.trainer.conftest import FILES, TWO_TASKS, bindings, files


def test_it_is_one_readable_file(begun, data_dir):
    run = json.loads((pathlib.Path(begun["MODEL_DIR"]) / "run.json").read_text())
    made_from = run["made_from"]
    dataset = json.loads((pathlib.Path(data_dir) / "tiny" / "1.0.0" / "dataset.json").read_text())
    assert made_from["datasets"] == {"tiny": dataset["fingerprint"]}
    vocabulary = pathlib.Path(data_dir) / "tiny" / "1.0.0" / "sentencepiece.model"
    assert made_from["vocabulary"]["sha256"] == integrity.digest_of(vocabulary.read_bytes())
    assert made_from["mixture"] == "retrieval_mlm_tiny"
    assert set(made_from["tasks"]) == {"retrieval_tiny", "mlm_tiny"}
    assert made_from["settings"]["history_length"] == 3
    assert made_from["model"]["emb_dim"] == 16
    assert made_from["training"]["seed"] == 0
    assert {"recalign", "jax", "python"} <= set(made_from["versions"])
    assert run["start"]["step"] == 0 and run["start"]["params"].startswith("2:")


@pytest.mark.parametrize(
    ("macros", "more", "message"),
    [
        ({"MIXTURE_OR_TASK_NAME": "ut_tiny"}, [], "mixture was retrieval_mlm_tiny and is ut_tiny"),
        ({"BATCH_SIZE": 4}, [], "training/batch_size was 8 and is 4"),
        ({"RANDOM_SEED": 7}, [], "training/seed was 0 and is 7"),
        ({"HISTORY_LENGTH": 2}, [], "settings/history_length was 3 and is 2"),
        (
            {},
            ["TaskSettings.like_threshold = 4.0"],
            "settings/like_threshold was nothing and is 4.0",
        ),
        ({"MIXTURE_RATES": {"mlm": 3.0}}, [], "settings/rates/mlm was nothing and is 3.0"),
        (
            {"TASK_FEATURE_LENGTHS": {"inputs": 96, "targets": 20}},
            [],
            "training/task_feature_lengths/targets was 24 and is 20",
        ),
    ],
)
def test_another_stream_is_another_run(again, macros, more, message):
    before = files(again.run)
    for force in (False, True):
        with pytest.raises(UserError, match=message) as error:
            again(*more, force=force, **macros)
    assert f"{again.run} was made otherwise: " in str(error.value)
    assert f"INITIAL_CHECKPOINT_PATH = '{again.run}'" in str(error.value)
    assert files(again.run) == before


def test_other_sizes_are_another_model(again):
    with pytest.raises(UserError, match=r"model/emb_dim was 16 and is 24: .* another MODEL_DIR$"):
        again(force=True, EMB_DIM=24)


@pytest.mark.parametrize(
    ("macros", "message"),
    [
        ({"DROPOUT_RATE": 0.2}, "training/dropout_rate was 0.1 and is 0.2"),
        ({"DTYPE": "bfloat16"}, "model/dtype was float32 and is bfloat16"),
        (
            {"INITIAL_CHECKPOINT_PATH": "elsewhere"},
            r"training/initial_checkpoint_path was \[\] and is elsewhere",
        ),
    ],
)
def test_what_changes_the_training_needs_force(again, macros, message):
    with pytest.raises(UserError, match=message + r": .* or --force to go on all the same$"):
        again(**macros)


def test_force_goes_on_and_is_noted(again, capfd):
    again(force=True, DROPOUT_RATE=0.2, TRAIN_STEPS=6)
    assert "going on otherwise than before: training/" in capfd.readouterr().err
    run = json.loads((again.run / "run.json").read_text())
    assert "step 4: training/dropout_rate was 0.1 and is 0.2" in run["changes"]
    assert run["made_from"]["training"]["dropout_rate"] == 0.2
    assert run["start"]["params"]


def test_more_steps_and_another_rate_are_only_told(again, capfd):
    again(TRAIN_STEPS=5, LEARNING_RATE=0.01)
    said = capfd.readouterr().err
    assert "training/train_steps was 4 and is 5" in said
    assert "training/learning_rate was 0.001 and is 0.01" in said
    assert "going on from the checkpoint of step 4" in said


@pytest.fixture(scope="module")
def another_data_dir(tmp_path_factory):
    """Another log that was prepared under the same name."""
    directory = tmp_path_factory.mktemp("another")
    make_corpus("tiny", directory, seed=5)
    return str(directory)


def test_a_dataset_that_was_prepared_anew_is_told_by_every_verb(again, another_data_dir, begun):
    """`train`, `eval`, and what `recommend` and `serve` open refuse it; `report` leaves it out."""
    message = r"datasets/tiny was \w{12}… and is \w{12}…"
    with pytest.raises(UserError, match=f"was made otherwise: {message}: .* another MODEL_DIR"):
        again(DATA_DIR=another_data_dir, force=True)
    given = bindings(**{**begun, "MODEL_DIR": str(again.run), "DATA_DIR": another_data_dir})
    with pytest.raises(UserError, match=f"{message}: give the --data_dir"):
        evaluate(load_experiment(FILES, given), "test", "last", max_examples=2)
    with pytest.raises(UserError, match=f"{message}: give the --data_dir"):
        Recommender(again.run, data_dir=another_data_dir)
    own = bindings(**{**begun, "MODEL_DIR": str(again.run)})
    evaluate(load_experiment(FILES, own), "test", "last", max_examples=2)
    whole = content.read([again.run], None)
    assert whole.by_user and not any("tiny" in gap for _, gap in whole.gaps)
    shown = content.read([again.run], another_data_dir)
    (gap,) = [gap for _, gap in shown.gaps if re.search(message, gap)]
    assert "is not the one that was evaluated" in gap
    assert not shown.by_user  # charts that need to know the items


def predictions(run: pathlib.Path, task: str) -> list[dict]:
    text = (run / "predictions" / f"{task}-test.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_other_test_targets_are_refused_and_no_prediction_keeps_the_old_ones(
    again, begun, tmp_path
):
    """The log was put right, and prepared again: the same items, other answers."""
    sequences = random_sequences(0, 60, 50, 30)
    generator = np.random.default_rng(1)
    ratings = [generator.integers(1, 6, len(it)).tolist() for it in sequences]
    named = log_of(sequences).item_ids
    named = dict(zip(named, titles(2, len(named)), strict=True))
    one, two = next(
        (one, two)
        for one, two in itertools.combinations(range(20), 2)
        if sequences[one][-1] not in sequences[two] and sequences[two][-1] not in sequences[one]
    )
    sequences[one][-1], sequences[two][-1] = sequences[two][-1], sequences[one][-1]
    other = make_corpus(
        "tiny", tmp_path / "data", sequences=sequences, ratings=ratings, item_titles=named
    )
    own = load_experiment(FILES, bindings(**{**begun, "MODEL_DIR": str(again.run)}))
    before = evaluate(own, "test", "last", max_examples=20)
    old = [record["target"] for record in predictions(again.run, "retrieval_tiny")]
    written = files(again.run / "predictions")
    given = {**begun, "MODEL_DIR": str(again.run), "DATA_DIR": str(tmp_path / "data")}
    changed = load_experiment(FILES, bindings(**given))
    with pytest.raises(
        UserError, match=r"made otherwise: datasets/tiny was \w{12}… and is \w{12}…"
    ):
        evaluate(changed, "test", "last", max_examples=20)
    assert files(again.run / "predictions") == written

    (again.run / "run.json").unlink()  # as of an earlier recalign's run: nothing to compare with
    after = evaluate(changed, "test", "last", max_examples=20)
    new = [record["target"] for record in predictions(again.run, "retrieval_tiny")]
    shown = other.sequences("test")
    answers = [other.catalogue.ids[n] for n in shown.items[shown.row_splits[1:] - 1]]
    assert new == answers[:20]
    assert [n for n in range(20) if new[n] != old[n]] == [one, two]
    assert (new[one], new[two]) == (old[two], old[one])
    assert after["made_from"]["datasets"] != before["made_from"]["datasets"]
    assert not [gap for gap in read_run(again.run).gaps if "another evaluation" in gap]


@pytest.mark.parametrize("name", ["recalign", "jax"])
def test_predictions_of_other_versions_are_made_again(again, begun, capfd, monkeypatch, name):
    own = load_experiment(FILES, bindings(**{**begun, "MODEL_DIR": str(again.run)}))
    kept = "retrieval_tiny: 4 of 4 examples were predicted before"
    evaluate(own, "test", "last", max_examples=4)
    assert kept not in capfd.readouterr().err
    evaluate(own, "test", "last", max_examples=4)
    assert kept in capfd.readouterr().err
    now = provenance.versions()
    monkeypatch.setattr(provenance, "versions", lambda: now | {name: "0.0"})
    after = evaluate(own, "test", "last", max_examples=4)
    assert "predicted before" not in capfd.readouterr().err
    assert after["made_from"]["versions"][name] == "0.0"
    assert not [gap for gap in read_run(again.run).gaps if "Evaluated otherwise" in gap]


def test_a_library_that_goes_by_another_name_has_no_version(monkeypatch):
    version = importlib.metadata.version

    def of_others(library):
        if library == "tensorflow":  # tensorflow-cpu was installed
            raise importlib.metadata.PackageNotFoundError(library)
        return version(library)

    everything = provenance.versions()
    monkeypatch.setattr(importlib.metadata, "version", of_others)
    assert provenance.versions() == {
        name: number for name, number in everything.items() if name != "tensorflow"
    }
    assert "tensorflow" in everything


@pytest.fixture
def rated(begun, tmp_path):
    """A run of one step on ratings; makes it, prepares its log at a threshold, and evaluates."""
    vocabulary = pathlib.Path(begun["DATA_DIR"]) / "tiny" / "1.0.0" / "sentencepiece.model"
    sequences = random_sequences(3, 12, 20, 9)
    log = log_of(
        sequences, [[(n + u) % 5 + 1 for n in range(len(s))] for u, s in enumerate(sequences)]
    )
    names = ItemTable.of_titles(log.item_ids, titles(1, len(log.item_ids)))
    given = {
        "MODEL_DIR": str(tmp_path / "run"), "DATA_DIR": str(tmp_path), "TRAIN_STEPS": 1,
        "MIXTURE_OR_TASK_NAME": "rating_rated",
    }  # fmt: skip

    def prepared(like_threshold: float) -> str:
        dataset = prepare(
            log, names, name="rated", data_dir=tmp_path, k_core=1, like_threshold=like_threshold,
            sentencepiece_model=vocabulary,
        )  # fmt: skip
        return dataset.fingerprint

    prepared.experiment = load_experiment(FILES, bindings(**given))
    return prepared


def test_what_counts_as_a_like_has_changed(rated, capfd):
    """Labels, predictions and metrics are of the new threshold, and the run says so."""
    experiment = rated.experiment
    marks, found = [], []
    for threshold in (3.0, 4.0):
        marks.append(rated(threshold))
        if threshold == 3.0:
            train(experiment)
        results = evaluate(experiment, "test", "last")
        records = predictions(experiment.directory, "rating_rated")
        found.append([record["label"] for record in records])
        of_yes = [dict(zip(it["beams"], it["log_probs"], strict=True)) for it in records]
        scores = [it.get("yes", -1e7) - it.get("no", -1e7) for it in of_yes]
        expected = roc_auc_score(found[-1], scores)
        assert results["tasks"]["rating_rated"]["auc_roc"] == pytest.approx(expected)
    dataset = open_dataset("rated", experiment.data_dir)
    shown = dataset.sequences("test")
    last = shown.ratings[shown.row_splits[1:] - 1]
    assert found == [(last > 3).tolist(), (last > 4).tolist()] and found[0] != found[1]
    assert marks[0] == marks[1]  # the records are the same: the threshold is a value of its own
    told = "otherwise than the run was trained: likes/rated was 3.0 and is 4.0"
    assert told in capfd.readouterr().err
    assert any(
        "likes/rated was 3.0 and is 4.0" in gap for gap in read_run(experiment.directory).gaps
    )
    with pytest.raises(UserError, match="likes/rated was 3.0 and is 4.0: give another MODEL_DIR"):
        train(dataclasses.replace(experiment, train_steps=2))


def test_other_beams_or_lengths_than_the_runs_are_told(again, begun, capfd):
    """They give other figures: the terminal says so, results.json has them, the report too."""
    given = {**begun, "MODEL_DIR": str(again.run), "CONSTRAINED": True, "BEAM_SIZE": 2}
    given["TASK_FEATURE_LENGTHS"] = {"inputs": 48, "targets": 24}
    results = evaluate(load_experiment(FILES, bindings(**given)), "test", "last", max_examples=2)
    decoding = results["made_from"]["decoding"]
    assert decoding["beam_size"] == 2 and decoding["constrained"] is True
    assert decoding["lengths"] == {"inputs": 48, "targets": 24}
    three = (
        "than the run was trained: decoding/beam_size was 4 and is 2; decoding/constrained was"
        " False and is True; decoding/lengths/inputs was 96 and is 48"
    )
    assert f"otherwise {three}" in capfd.readouterr().err
    assert read_run(again.run).gaps == (f"Evaluated otherwise {three}.",)
    again(BEAM_SIZE=2)  # what is trained is the same
    assert "going on otherwise than before: decoding/beam_size was 4" in capfd.readouterr().err


def test_a_run_from_before_likes_and_beams_were_written_down_goes_on():
    likes = {"likes": {"tiny": 3.0}}
    now = {"mixture": "a", **likes, "decoding": {"beam_size": 20}}
    assert not differences({"mixture": "a"}, now)
    assert differences(likes, {"likes": {"tiny": 4.0}})[0].rule == "anew"


def test_two_runs_and_two_data_folders_in_one_process(again, another_data_dir, begun, tmp_path):
    """Each answers from its own: no setting of the one reaches the other."""
    other_run = tmp_path / "other"
    given = {**begun, "MODEL_DIR": str(other_run), "DATA_DIR": another_data_dir}
    train(load_experiment(FILES, bindings(**{**given, "HISTORY_LENGTH": 2, "TRAIN_STEPS": 1})))
    one, other = Recommender(again.run), Recommender(other_run)
    assert one._catalogue.titles != other._catalogue.titles
    assert (one._history_length, other._history_length) == (3, 2)
    answers = [one.recommend(["I1"], 3), other.recommend(["I1"], 3)]
    for found, recommender in zip(answers, (one, other), strict=True):
        for answer in found:
            place = recommender._catalogue.ids.index(answer.id)
            assert answer.title == recommender._catalogue.titles[place]
    # Opened and asked by several threads at once, each is as it is alone.
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        opened = list(threads.map(Recommender, [again.run, other_run, again.run]))
        asked = [opened[number % 2] for number in range(20)]
        found = list(threads.map(lambda recommender: recommender.recommend(["I1"], 3), asked))
    assert found == [answers[number % 2] for number in range(20)]
    assert opened[2].recommend(["I1"], 3) == answers[0]


def test_a_run_of_before_is_told(again, capfd):
    (again.run / "run.json").unlink()
    again(TRAIN_STEPS=5)
    assert "holds no run.json: what it was made from is not known" in capfd.readouterr().err
    assert (again.run / "run.json").exists()


def test_other_words_of_a_task_are_a_difference(data_dir, tmp_path):
    macros = {"MODEL_DIR": str(tmp_path), "DATA_DIR": data_dir, **TWO_TASKS}
    experiment = load_experiment(FILES, bindings(**macros))
    tasks.ensure_registered("retrieval_tiny", data_dir)
    task = seqio.TaskRegistry.get("retrieval_tiny")
    with experiment.surroundings.entered():
        before, now = (
            origin(experiment, [it])
            for it in (task, task.replace(prompt=Prompt("{history} What comes next?", "{target}")))
        )
    (found,) = differences(before, now)
    assert found.name == "tasks/retrieval_tiny/wording" and found.before != found.now
    assert not differences(before, before)
    # Runs begun on 26 November 2026 hold the digest of no words at all: nothing is known of them.
    unknown = {"retrieval_tiny": {"wording": integrity.digest_of(b"None ")}}
    assert not differences({**before, "tasks": unknown}, now)


@pytest.fixture
def start_from(begun, tmp_path):
    """A new run that starts from another's weights, whose vocabulary was this."""

    def begin(vocabulary: dict, force: bool = False):
        weights, run = tmp_path / "weights", tmp_path / "new"
        shutil.copytree(begun["MODEL_DIR"], weights)
        written = json.loads((weights / "run.json").read_text())
        written["made_from"]["vocabulary"] |= vocabulary
        (weights / "run.json").write_text(integrity.sealed_json(written))
        given = {**begun, "MODEL_DIR": str(run), "INITIAL_CHECKPOINT_PATH": str(weights)}
        train(load_experiment(FILES, bindings(**{**given, "TRAIN_STEPS": 5})), force=force)
        return run

    return begin


def test_a_run_starts_from_weights_of_its_own_tokens(start_from):
    assert json.loads((start_from({}) / "run.json").read_text())["start"]["step"] == 4


def test_weights_of_other_tokens_are_refused_as_a_start(start_from, tmp_path):
    message = r"its tokens are others: vocabulary/sha256 was 000000000000… and is \w{12}…: prepare"
    with pytest.raises(UserError, match=message):
        start_from({"sha256": "0" * 64})
    assert not (tmp_path / "new").exists()


def test_force_starts_from_weights_of_other_tokens(start_from, capfd):
    assert (start_from({"pieces": 7}, force=True) / "checkpoints" / "5").exists()
    assert (
        "starting from weights of other tokens: vocabulary/pieces was 7" in capfd.readouterr().err
    )
