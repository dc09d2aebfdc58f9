"""Four modules outside the package, in one run: trained, evaluated, reported."""

import importlib
import json
import pathlib
import sys

import gin
import numpy as np
import pytest
import seqio

import tasks
from recalign.data.prepared import open_dataset
from recalign.preprocessors.settings import TaskSettings
from recalign.preprocessors.surroundings import Surroundings
from recalign.report import content, page
from recalign.report.tables import metric_name
from recalign.trainer import evaluation
from recalign.trainer.experiment import load_experiment
from recalign.trainer.loop import train
from tests.trainer.conftest import FILES, bindings

HERE = pathlib.Path(__file__).parent
MODULES = ("own_task", "own_metric", "own_seqio")


@pytest.fixture(scope="module")
def registered(data_dir):
    """The modules imported; afterwards nothing of them is registered."""
    registries = (seqio.TaskRegistry, seqio.MixtureRegistry)
    before = [set(registry.names()) for registry in registries]
    for module in MODULES:
        sys.modules.pop(f"tests.examples.{module}", None)
        importlib.import_module(f"tests.examples.{module}")
    tasks.ensure_registered("ranking_tiny", data_dir)
    tasks.register_mixture("own_tiny", ["pair_tiny", "found_tiny", "turned_tiny", "ranking_tiny"])
    yield
    for registry, names in zip(registries, before, strict=True):
        for name in set(registry.names()) - names:
            registry.remove(name)


@pytest.fixture(scope="module")
def run(registered, data_dir, tmp_path_factory, quick_compilation):
    """A run of a few steps on all four, and what it printed."""
    directory = tmp_path_factory.mktemp("own") / "run"
    macros = {
        "MIXTURE_OR_TASK_NAME": "own_tiny",
        "MODEL_DIR": str(directory),
        "DATA_DIR": data_dir,
        "TRAIN_STEPS": 4,
        "TEST_SPLIT": "test",
    }
    files = [*FILES, str(HERE / "own_negatives.gin")]
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
    assert column in page.render(found)


def test_seqios_preprocessors_may_follow_ours(run, data_dir):
    task = seqio.get_mixture_or_task("turned_tiny")
    with Surroundings(data_dir).entered():
        vocabulary = task.output_features["targets"].vocabulary
        example = next(task.get_dataset(None, "train", seed=0).as_numpy_iterator())
        assert vocabulary.decode(example["targets"].tolist()).startswith("What's the title of I")
        assert vocabulary.decode(example["inputs"].tolist())
    assert not task.is_addressed
