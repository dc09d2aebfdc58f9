"""References on a demo corpus: the right shape, measured on the same examples, worth beating."""

import gin
import numpy as np
import pytest
import seqio

import tasks
from recalign.baselines.references import references
from recalign.data.synthetic import CorpusConfig, prepare_demo

NAME = "reference_corpus"


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("data")
    dataset = prepare_demo(data_dir, 5, name=NAME, config=CorpusConfig(users=400))
    seqio.set_tfds_data_dir_override(str(data_dir))
    tasks.ensure_registered(f"ut_at_{NAME}", str(data_dir))
    gin.bind_parameter("TaskSettings.candidate_pool", 10)
    gin.bind_parameter("TaskSettings.history_length", 7)
    all_tasks = seqio.MixtureRegistry.get(f"ut_at_{NAME}").tasks
    yield dataset, all_tasks, references(dataset, all_tasks, "test")
    gin.clear_config()
    seqio.set_tfds_data_dir_override(None)


def test_every_recommendation_task_has_both_systems(measured):
    _, _, results = measured
    names = {f"{kind}_{NAME}" for kind in ("retrieval", "ranking", "rating")}
    assert set(results) == {"popularity", "graph", "optimum"}
    assert set(results["popularity"]) == set(results["optimum"]) == names
    assert set(results["graph"]) == names - {f"rating_{NAME}"}
    for system in results.values():
        assert all(metrics["num_examples"] == 400 for metrics in system.values())


def test_popularity_counts_by_hand(measured):
    """HR@10 of popularity: how often the last item is one of the ten most often bought before."""
    dataset, _, results = measured
    top = np.argsort(-dataset.catalogue.train_counts, kind="stable")[:10]
    sequences = dataset.sequences("test")
    expected = np.isin(sequences.items[sequences.row_splits[1:] - 1], top).mean()
    assert results["popularity"][f"retrieval_{NAME}"]["hr@10"] == pytest.approx(expected)


def test_the_optimum_is_ahead(measured):
    _, _, results = measured
    for kind, metric in (("retrieval", "hr@10"), ("ranking", "hr@1"), ("rating", "auc_roc")):
        best, popular = (results[s][f"{kind}_{NAME}"][metric] for s in ("optimum", "popularity"))
        assert best > popular + 0.1


def test_the_graph_stands_between_popularity_and_the_optimum(measured):
    _, _, results = measured
    task = f"retrieval_{NAME}"
    popular, graph, best = (results[s][task]["hr@10"] for s in ("popularity", "graph", "optimum"))
    assert popular + 0.1 < graph < best


def test_without_retrieval_nothing_is_fitted(measured):
    dataset, all_tasks, _ = measured
    ranking = [task for task in all_tasks if task.name == f"ranking_{NAME}"]
    assert set(references(dataset, ranking, "validation", 20)) == {"popularity", "optimum"}


def test_a_system_that_scores_the_pool_has_one_ranking(measured):
    _, _, results = measured
    ranking = results["optimum"][f"ranking_{NAME}"]
    for k in ("hr@1", "hr@5", "ndcg@5"):
        assert ranking[k] == ranking[f"{k}_candidates"]
    assert ranking["hr@10"] == 1.0  # the whole pool


def test_an_evaluation_cut_short_has_references_cut_short(measured):
    dataset, all_tasks, _ = measured
    results = references(dataset, all_tasks, "test", max_examples=50)
    assert results["optimum"][f"rating_{NAME}"]["num_examples"] == 50
