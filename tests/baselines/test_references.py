"""References on a demo corpus: the right shape, measured on the same examples, worth beating."""

import gin
import numpy as np
import pytest
import seqio

import tasks
from recalign.baselines.references import examples_of, references
from recalign.data.synthetic import CorpusConfig, prepare_demo, read_law

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
    yield dataset, all_tasks, references(dataset, asked(all_tasks, "test"), "test")
    gin.clear_config()
    seqio.set_tfds_data_dir_override(None)


def asked(all_tasks, split, count=None):
    """The examples of the tasks that have any, with what they are evaluated as."""
    return {
        task.name: (task.evaluated_as, examples_of(task, split, count))
        for task in all_tasks
        if task.evaluated_as
    }


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
    assert set(references(dataset, asked(ranking, "validation", 20), "validation")) == {
        "popularity",
        "optimum",
    }


def test_a_system_that_scores_the_pool_has_one_ranking(measured):
    _, _, results = measured
    ranking = results["optimum"][f"ranking_{NAME}"]
    for k in ("hr@1", "hr@5", "ndcg@5"):
        assert ranking[k] == ranking[f"{k}_candidates"]
    assert ranking["hr@10"] == 1.0  # the whole pool


def test_an_evaluation_cut_short_has_references_cut_short(measured):
    dataset, all_tasks, _ = measured
    results = references(dataset, asked(all_tasks, "test", 50), "test")
    assert results["optimum"][f"rating_{NAME}"]["num_examples"] == 50


def test_the_optimum_predicts_what_the_threshold_asks(measured):
    """Above 4 there are fives: half of what the law calls likes, in history and target."""
    dataset, all_tasks, _ = measured
    law = read_law(dataset)
    fives = law.rated_above(0, 4.0)
    np.testing.assert_allclose(fives, law.like(0) / 2)
    np.testing.assert_allclose(law.rated_above(0, 2.0), (2 * law.like(0) + 1) / 3)
    with gin.unlock_config():
        gin.bind_parameter("TaskSettings.like_threshold", 4.0)
    rating = [task for task in all_tasks if task.name == f"rating_{NAME}"]
    (examples,) = asked(rating, "test").values()
    results = references(dataset, {rating[0].name: examples}, "test")
    with gin.unlock_config():
        gin.bind_parameter("TaskSettings.like_threshold", 3.0)
    sequences = dataset.sequences("test")
    start, end = sequences.row_splits[:2]
    past, likes = sequences.items[start : end - 1], sequences.ratings[start : end - 1] > 4
    posterior = law.taste_posterior([*past, sequences.items[end - 1]])
    for item, liked in zip(past, likes, strict=True):
        posterior = posterior * (law.like(item) / 2 if liked else 1 - law.like(item) / 2)
    expected = posterior @ law.like(sequences.items[end - 1]) / 2 / posterior.sum()
    score = law.like_given_history(past, likes, sequences.items[end - 1], 4.0)
    assert score == pytest.approx(expected)
    labels = [int(example["label"]) for example in examples[1]]
    fives_of_all = sequences.ratings[sequences.row_splits[1:] - 1] > 4
    assert labels == fives_of_all.astype(int).tolist()
    assert results["optimum"][rating[0].name]["auc_roc"] > 0.5
