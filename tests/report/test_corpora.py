import json

from recalign.report.baselines import read_baselines
from recalign.report.corpora import gather
from recalign.report.run import read_run
from tests.report.shop import RETRIEVAL, Shop, write_baselines, write_run


def test_runs_and_baselines_of_one_dataset_stand_together(shop, run_directory, tmp_path):
    folder = read_baselines(write_baselines(tmp_path / "b", {"popularity": RETRIEVAL}))
    (corpus,) = gather([read_run(run_directory)], [folder])
    assert (corpus.label, corpus.split, corpus.gaps) == ("shop", "test", ())
    assert corpus.prepared.directory == shop.dataset.directory
    assert [entry.label for entry in corpus.of_kind("retrieval")] == ["UT, 0.3M", "Popularity"]


def test_a_folders_baseline_stands_before_what_results_refer_to(shop, tmp_path):
    references = {"popularity": {"retrieval_shop": {"hr@10": 0.1}}, "optimum": {"x": {}}}
    run = read_run(write_run(tmp_path / "run", shop, references=references))
    folder = read_baselines(write_baselines(tmp_path / "b", {"popularity": RETRIEVAL}))
    (corpus,) = gather([run], [folder])
    (popularity,) = [e for e in corpus.entries if e.label == "Popularity"]
    assert popularity.mean("hr@10") == 5 / 8
    assert len(popularity.outcomes) == 1


def test_other_users_under_the_same_name_are_kept_apart(shop, run_directory, tmp_path):
    other = Shop(tmp_path / "data", seed=1)  # other IDs
    assert other.targets != shop.targets
    runs = [read_run(run_directory), read_run(write_run(tmp_path / "other", other))]
    first, second = gather(runs, [])
    assert (first.label, second.label) == ("shop 1", "shop 2")
    assert "different sets of users" in first.gaps[0]
    assert second.prepared.directory == other.dataset.directory


def test_baselines_stand_beside_the_preparation_that_they_were_measured_on(
    shop, run_directory, tmp_path
):
    other = Shop(tmp_path / "data", seed=1)
    runs = [read_run(run_directory), read_run(write_run(tmp_path / "other", other))]
    mark = other.dataset.info["fingerprint"]
    folder = read_baselines(write_baselines(tmp_path / "b", {"sasrec": RETRIEVAL}, mark))
    first, second = gather(runs, [folder])
    assert [e.label for e in first.of_kind("retrieval")] == ["UT, 0.3M"]
    assert [e.label for e in second.of_kind("retrieval")] == ["UT, 0.3M", "SASRec"]
    assert "another preparation of shop" in first.gaps[1]


def test_a_dataset_that_is_not_the_evaluated_one_is_not_taken(shop, run_directory, tmp_path):
    Shop(tmp_path / "data", seed=1)
    (corpus,) = gather([read_run(run_directory)], [], tmp_path / "data")
    assert corpus.prepared is None
    assert "is not the one that was evaluated" in corpus.gaps[0]


def test_predictions_of_another_evaluation_are_found_out(run_directory):
    results = json.loads((run_directory / "results.json").read_text())
    results["tasks"]["retrieval_shop"]["hr@10"] = 0.75
    (run_directory / "results.json").write_text(json.dumps(results))
    (corpus,) = gather([read_run(run_directory)], [])
    assert corpus.gaps == (
        "UT, 0.3M: hr@10 is 0.7500 in results.json but 0.6250 by its predictions;"
        " they are of two evaluations.",
    )


def test_a_run_on_two_datasets_is_in_both(shop, tmp_path):
    run = write_run(tmp_path / "run", shop, dataset="shop,big_shop")
    results = json.loads((run / "results.json").read_text())
    results["tasks"]["retrieval_big_shop"] = {"hr@10": 0.1, "num_examples": 4}
    (run / "results.json").write_text(json.dumps(results))
    first, second = gather([read_run(run)], [])
    assert [e.num_examples for e in first.of_kind("retrieval")] == [8]
    assert [e.num_examples for e in second.of_kind("retrieval")] == [4]
