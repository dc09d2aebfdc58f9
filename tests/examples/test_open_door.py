"""Four modules outside the package, in one run: trained, evaluated, reported."""

import importlib
import json
import pathlib
import sys

import gin
import numpy as np
import pytest
import seqio
from sklearn.metrics import roc_auc_score

import tasks
from recalign import metrics
from recalign.data.prepared import open_dataset
from recalign.errors import UserError
from recalign.preprocessors.settings import TaskSettings
from recalign.preprocessors.surroundings import Surroundings
from recalign.preprocessors.task import RecommendationTask
from recalign.report import content, formats
from recalign.report.tables import metric_name
from recalign.trainer import evaluation
from recalign.trainer.experiment import load_experiment
from recalign.trainer.loop import train
from tests.trainer.conftest import FILES, bindings

HERE = pathlib.Path(__file__).parent
MODULES = ("own_task", "own_metric", "own_seqio")


class Length(metrics.MeanOverExamples):
    """A metric that a rating task may have alone: how long its first answer is."""

    name = "length"

    @classmethod
    def value(cls, example, target, beams):
        return float(len(beams[0]))


@pytest.fixture(scope="module")
def registered(data_dir):
    """The modules imported; afterwards nothing of them is registered."""
    registries = (seqio.TaskRegistry, seqio.MixtureRegistry)
    before = [set(registry.names()) for registry in registries]
    for module in MODULES:
        sys.modules.pop(f"tests.examples.{module}", None)
        importlib.import_module(f"tests.examples.{module}")
    tasks.ensure_registered("ranking_tiny", data_dir)
    rated = tasks.TASKS["rating"] | {"metrics": [Length]}
    tasks.register_task(tasks.task_of("rated", "tiny", **rated))
    tasks.register_mixture(
        "own_tiny", ["pair_tiny", "found_tiny", "turned_tiny", "ranking_tiny", "rated_tiny"]
    )
    yield
    for registry, names in zip(registries, before, strict=True):
        for name in set(registry.names()) - names:
            registry.remove(name)


@pytest.fixture(scope="module")
def rendered():
    """The task and the split of every dataset of ours that the run builds."""
    return []


@pytest.fixture(scope="module")
def run(registered, rendered, data_dir, tmp_path_factory, quick_compilation):
    """A run of a few steps on all four, and what it printed."""
    directory = tmp_path_factory.mktemp("own") / "run"
    macros = {
        "MIXTURE_OR_TASK_NAME": "own_tiny",
        "MODEL_DIR": str(directory),
        "DATA_DIR": data_dir,
        "TRAIN_STEPS": 4,
        "TEST_SPLIT": "test",
        "EXACT_SCORES": True,
    }
    files = [*FILES, str(HERE / "own_negatives.gin")]
    get_dataset = RecommendationTask.get_dataset

    def noting(self, sequence_length=None, split="train", *others, **named):
        rendered.append((self.name, split))
        return get_dataset(self, sequence_length, split, *others, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RecommendationTask, "get_dataset", noting)
        train(load_experiment(files, bindings(**macros)))
    yield directory
    seqio.set_tfds_data_dir_override(None)
    gin.clear_config()


def results_of(run):
    return json.loads((run / "results.json").read_text())


def test_a_task_of_a_new_kind_is_trained_and_measured(run):
    results = results_of(run)
    assert 0 <= results["tasks"]["pair_tiny"]["both_found"] <= 1
    about = results["evaluated"]["pair_tiny"]
    assert about == {
        "kind": "pair", "evaluated_as": "", "metrics": ["both_found"], "answers": None,
    }  # fmt: skip
    lines = (run / "predictions" / "pair_tiny-test.jsonl").read_text().splitlines()
    for line in map(json.loads, lines):
        asked = line["prompt"].removeprefix("Which two of these did the user buy together? ")
        offer, pair = asked.split(", "), line["target"].split(", ")
        assert len(set(offer)) == 4 and len(set(pair)) == 2 and set(pair) <= set(offer)


def test_the_new_task_is_at_most_forty_lines():
    code = (HERE / "own_task.py").read_text().split('"""', 2)[2]
    assert len([line for line in code.splitlines() if line.strip()]) <= 40


def test_gin_chooses_how_negatives_are_drawn(run, data_dir):
    """All alike, less popular items are drawn than by popularity."""
    catalogue = open_dataset("tiny", data_dir).catalogue
    count = dict(zip(catalogue.ids, catalogue.train_counts.tolist(), strict=True))
    lines = (run / "predictions" / "ranking_tiny-test.jsonl").read_text().splitlines()
    alike = [
        count[id_]
        for line in map(json.loads, lines)
        for id_ in line["candidates"]
        if id_ != line["target"]
    ]
    gin.clear_config()
    settings = TaskSettings(candidate_pool=5, history_length=3)
    task = seqio.get_mixture_or_task("ranking_tiny")
    with Surroundings(data_dir, settings).entered():
        by_popularity = [
            catalogue.train_counts[item]
            for example in task.get_dataset(None, "test", shuffle=False).as_numpy_iterator()
            for item in example["candidates"]
            if item != example["target"]
        ]
    assert len(alike) == len(by_popularity) == 60 * 4
    assert np.mean(by_popularity) > 1.2 * np.mean(alike)


def test_a_metric_of_ones_own_shows_everywhere(run, data_dir):
    results = results_of(run)
    assert 0 <= results["tasks"]["found_tiny"]["mrr"] <= 1
    assert results["evaluated"]["found_tiny"]["metrics"][-1] == "mrr"
    assert "mrr 0." in evaluation.describe(results["tasks"]["found_tiny"])  # the terminal's line
    found = content.read([str(run)], data_dir)
    column = metric_name("mrr")
    (table,) = [table for table in found.results if column in table.columns]
    place = table.columns.index(column)
    (row,) = [row for row in table.rows if row[place].value is not None]
    assert row[place].value == pytest.approx(results["tasks"]["found_tiny"]["mrr"])
    assert column in formats.render(found)


def test_a_rating_with_a_metric_of_ones_own_is_scored_exactly_too(run):
    measured = results_of(run)["tasks"]["rated_tiny"]
    lines = (run / "predictions" / "rated_tiny-test.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    scores = [yes - no for no, yes in (record["exact_log_probs"] for record in records)]
    expected = roc_auc_score([record["label"] for record in records], scores)
    assert measured["auc_roc_exact"] == pytest.approx(expected)
    assert "auc_roc" not in measured
    lengths = [len(record["beams"][0].strip()) for record in records]
    assert measured["length"] == pytest.approx(np.mean(lengths))


def test_a_split_is_rendered_once(run, rendered):
    """Its examples are measured, and the references on them."""
    tested = [name for name, split in rendered if split == "test"]
    assert sorted(tested) == sorted(results_of(run)["tasks"])
    assert {"ranking_tiny", "rated_tiny"} <= results_of(run)["references"]["popularity"].keys()


def test_a_name_that_is_taken_is_one_line(registered):
    retrieval = tasks.task_of("retrieval", "toys", **tasks.TASKS["retrieval"])
    with pytest.raises(
        UserError, match=r"'retrieval_toys' .* registered already, as those of .* another name"
    ):
        tasks.register_task(retrieval)
    for name in ("own_tiny", "found_tiny"):
        with pytest.raises(UserError, match=f"{name!r} .* registered already: give yours another"):
            tasks.register_mixture(name, ["found_tiny"])


def test_seqios_preprocessors_may_follow_ours(run, data_dir):
    task = seqio.get_mixture_or_task("turned_tiny")
    with Surroundings(data_dir).entered():
        vocabulary = task.output_features["targets"].vocabulary
        example = next(task.get_dataset(None, "train", seed=0).as_numpy_iterator())
        assert vocabulary.decode(example["targets"].tolist()).startswith("What's the title of I")
        assert vocabulary.decode(example["inputs"].tolist())
    assert not task.is_addressed
