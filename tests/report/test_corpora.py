import json
import math

import pytest

from recalign.report import corpora
from recalign.report.baselines import read_baselines
from recalign.report.corpora import gather
from recalign.report.differences import difference
from recalign.report.run import read_run
from tests.report.shop import INF, RETRIEVAL, Shop, write_baselines, write_run


def test_runs_and_baselines_of_one_dataset_stand_together(shop, run_directory, tmp_path):
    folder = read_baselines(write_baselines(tmp_path / "b", {"popularity": RETRIEVAL}))
    (corpus,) = gather([read_run(run_directory)], [folder])
    assert (corpus.label, corpus.split, corpus.gaps) == ("shop", "test", ())
    assert corpus.prepared[0].directory == shop.dataset.directory
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
    assert second.prepared[0].directory == other.dataset.directory


def test_draws_of_a_planted_corpus_are_one_corpus(tmp_path):
    better = (0, 0, 0, 0, 0, 0, 0, INF)
    runs, folders = [], []
    for seed, ranks in ((1, better), (0, RETRIEVAL)):
        folder = tmp_path / f"seed{seed}"
        made = Shop(folder / "data", seed=seed, sources=[{"synthetic": {"users": 8}}])
        runs += [
            read_run(write_run(folder / "ut", made, seed=seed, ranks=ranks), f"seed{seed}/ut"),
            read_run(write_run(folder / "reat", made, seed=seed, mixture="reat_shop", alone=True)),
        ]
        mark = made.dataset.info["fingerprint"]
        found = write_baselines(folder / "b", {"popularity": (seed, *(INF,) * 7)}, mark)
        folders.append(read_baselines(found))
    (corpus,) = gather(runs, folders)
    assert (corpus.label, corpus.gaps, sorted(corpus.prepared)) == ("shop", (), [0, 1])
    ut, reat, popularity = corpus.of_kind("retrieval")
    # 5 and 7 of 8 users; each has its own draw's baseline beside it.
    assert ut.values["hr@10"] == (5 / 8, 7 / 8)
    assert popularity.values["ndcg@5"] == (1 / 8, pytest.approx(1 / math.log2(3) / 8))
    assert [len(entry.rows()) for entry in (ut, reat, popularity)] == [16] * 3
    found = difference(ut, reat, "hr@10")
    assert (found.value, found.users, found.of_seeds) == (1 / 8, 16, (0.0, 2 / 8))
    # Two of sixteen users: a binomial's quantiles, 0 and 5.
    assert found.interval == (0.0, 5 / 16)


def test_two_splits_of_one_name_are_told_apart(shop, run_directory, tmp_path):
    other = write_run(tmp_path / "other", shop, split="validation")
    labels = [c.label for c in gather([read_run(run_directory), read_run(other)], [])]
    assert labels == ["shop, test", "shop, validation"]


def test_each_of_a_folders_models_is_of_its_own_preparation(shop, run_directory, tmp_path):
    mark = shop.dataset.info["fingerprint"]
    path = write_baselines(tmp_path / "b", {"sasrec": RETRIEVAL, "hgn": RETRIEVAL}, mark)
    results = json.loads((path / "results.json").read_text())
    results["systems"]["hgn"]["settings"]["dataset_fingerprint"] = "another"
    (path / "results.json").write_text(json.dumps(results))
    (corpus,) = gather([read_run(run_directory)], [read_baselines(path)])
    assert [entry.label for entry in corpus.of_kind("retrieval")] == ["UT, 0.3M", "SASRec"]
    assert corpus.gaps == (
        "What b has of hgn was measured on another preparation of shop and is left out.",
    )


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
    assert first.gaps[1] == (
        "What b has of sasrec was measured on another preparation of shop and is left out."
    )


def test_a_dataset_that_is_not_the_evaluated_one_is_not_taken(shop, run_directory, tmp_path):
    Shop(tmp_path / "data", seed=1)
    (corpus,) = gather([read_run(run_directory)], [], tmp_path / "data")
    assert corpus.prepared == {}
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
    results["evaluated"]["retrieval_big_shop"] = results["evaluated"]["retrieval_shop"]
    (run / "results.json").write_text(json.dumps(results))
    first, second = gather([read_run(run)], [])
    assert [e.num_examples for e in first.of_kind("retrieval")] == [8]
    assert [e.num_examples for e in second.of_kind("retrieval")] == [4]


def test_no_bucket_is_read_because_a_run_says_so(shop, run_directory, monkeypatch):
    """Only because the user names it: `report --data_dir gs://…`."""
    config = (run_directory / "config.gin").read_text()
    (run_directory / "config.gin").write_text(f"{config}\nDATA_DIR = 'gs://elsewhere/data'\n")
    run = read_run(run_directory)
    assert run.configuration.data_dir == "gs://elsewhere/data"
    monkeypatch.setattr(corpora, "dataset_path", lambda *_: pytest.fail("it was looked for"))
    (found,) = gather([run], [])
    assert not found.prepared
    assert any("is not at hand" in gap for gap in found.gaps)
