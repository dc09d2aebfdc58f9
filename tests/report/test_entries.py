import json

import numpy as np
import pytest

from recalign.report.baselines import read_baselines
from recalign.report.corpora import gather
from recalign.report.differences import claims, others, ours
from recalign.report.entries import entries_of_baselines, entries_of_system
from recalign.report.outcomes import DRAW
from recalign.report.run import read_run
from recalign.report.summary import headlines
from recalign.report.systems import systems_of_runs
from tests.report import shop as made
from tests.report.shop import INF, write_baselines, write_run


def test_seeds_of_one_experiment_are_one_line_with_its_mean_and_spread(shop, tmp_path):
    other = (0, 0, 0, 0, 0, 0, 0, INF)
    runs = [
        read_run(write_run(tmp_path / "a", shop)),
        read_run(write_run(tmp_path / "b", shop, mixture="reat_shop", alone=True)),
        read_run(write_run(tmp_path / "c", shop, seed=1, ranks=other)),
    ]
    first, second = systems_of_runs([(0, run) for run in runs], "shop")
    assert (first.label, first.runs) == ("UT, 0.3M", (runs[0], runs[2]))
    assert second.label == "ReAT, 0.3M"
    retrieval = entries_of_system(first, "shop")[0]
    # 5 and 7 of 8 users.
    assert retrieval.mean("hr@10") == pytest.approx(6 / 8)
    assert retrieval.spread("hr@10") == pytest.approx(np.std([5 / 8, 7 / 8], ddof=1))
    # Users found at once by both, by the second seed alone, by neither.
    gains = retrieval.gains("hr@5", retrieval.rows())
    assert gains.tolist() == [1, 1, 1, 0.5, 0.5, 1, 0.5, 0]


def test_a_run_has_a_line_a_task_and_way_of_decoding(run_directory):
    (system,) = systems_of_runs([(0, read_run(run_directory))], "shop")
    entries = entries_of_system(system, "shop")
    assert [(e.kind, e.label) for e in entries] == [
        ("retrieval", "UT, 0.3M"),
        ("ranking", "UT, 0.3M"),
        ("ranking", "UT, 0.3M, within the pool"),
        ("rating", "UT, 0.3M"),
    ]
    for metric, value in made.POOL_FIGURES.items():
        assert entries[2].mean(metric) == pytest.approx(value)
    assert entries[3].mean("auc_roc") == pytest.approx(made.AUC)
    assert [entry.spread("hr@10") for entry in entries] == [None] * 4


def with_fusion(run, ranks):
    """Adds to a run what an evaluation with the transition graph leaves behind."""
    results = json.loads((run / "results.json").read_text())
    figures = made.figures_of(ranks)
    task = results["tasks"]["retrieval_shop"]
    task |= {f"{name}_fused": value for name, value in figures.items() if "@" in name}
    about = {"prior": "graph", "weight": 0.5, "temperature": 1.0}
    results["fusion"] = {"retrieval_shop": about}
    (run / "results.json").write_text(json.dumps(results))
    path = run / "predictions" / "retrieval_shop-test.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line, rank in zip(lines, ranks, strict=True):
        before = [f"I9{n}" for n in range(20)]
        line["fused_beams"] = before if rank == INF else [*before[:rank], line["target"]]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def test_a_model_joined_with_a_prior_is_a_line_of_its_own(shop, tmp_path):
    """Its figures, its users and its claims; the model's own line and the headline stay its own."""
    ranks = (0, 0, 0, 0, 0, 0, 7, INF)
    run = read_run(with_fusion(write_run(tmp_path / "a", shop, alone=True), ranks))
    baseline = read_baselines(write_baselines(tmp_path / "b", {"graph": (INF,) * 8}))
    (corpus,) = gather([run], [baseline])
    alone, joined, graph = corpus.of_kind("retrieval")
    assert (alone.label, joined.label) == ("UT, 0.3M", "UT, 0.3M, joined with Transition graph")
    assert (alone.mean("hr@10"), joined.mean("hr@10")) == (5 / 8, 7 / 8)
    assert joined.gains("hr@5", joined.rows()).tolist() == [1, 1, 1, 1, 1, 1, 0, 0]
    assert not corpus.gaps and not joined.compares_with_paper
    assert ours(corpus, "retrieval") == [alone] and others(corpus, "retrieval") == [graph]
    pairs = {(each.first, each.second) for each in claims(corpus, "retrieval")}
    assert pairs == {(alone, graph), (joined, alone), (joined, graph)}
    (headline,) = headlines([corpus])
    assert headline.value == 5 / 8
    assert headline.beside[1].startswith("Joined with Transition graph: 0.8750, +0.2500 [")
    assert headline.marks == (("Transition graph", 0.0), ("with Transition graph", 7 / 8))


def test_a_headline_is_the_models_own_where_none_is_of_the_papers_kind(shop, tmp_path):
    run = with_fusion(write_run(tmp_path / "a", shop, mixture="tiger_shop", alone=True), (0,) * 8)
    (headline,) = headlines(gather([read_run(run)], []))
    assert (headline.system, headline.value) == ("TIGER, 0.3M", 5 / 8)
    assert headline.marks == (("with Transition graph", 1.0),)


def test_p5_is_a_baseline_and_its_prompts_are_named(shop, tmp_path):
    run = write_run(
        tmp_path / "p5", shop, mixture="p5_shop", retrieval="p5_sequential_shop", alone=True
    )
    results = json.loads((run / "results.json").read_text())
    results["tasks"]["p5_direct_shop"] = {"hr@1": 0.5, "hr@5": 0.5}
    results["tasks"]["p5_2_7_shop"] = {"hr@1": 0.25, "hr@5": 0.5}
    for task in ("p5_direct_shop", "p5_2_7_shop"):
        results["evaluated"][task] = made.evaluated_as(task)
    (run / "results.json").write_text(json.dumps(results))
    (system,) = systems_of_runs([(0, read_run(run))], "shop")
    assert not system.is_ours
    assert [
        (e.kind, e.prompt, e.label, e.paper_key) for e in entries_of_system(system, "shop")
    ] == [
        ("retrieval", "p5_sequential", "P5, 0.3M", "p5/"),
        ("ranking", "p5_direct", "P5, 0.3M (5-5)", "p5_direct/"),
        ("ranking", "p5_2_7", "P5, 0.3M", "p5/"),
    ]


def test_baselines_are_named_as_the_paper_names_them():
    tasks = {"retrieval_toys": {"hr@10": 0.5}, "retrieval_other_toys": {"hr@10": 0.1}, "x": {}}
    entries = entries_of_baselines(
        {"S3Rec": tasks, "bpr_mf": tasks, "my own": tasks},
        "toys",
        None,
        {"retrieval_toys": "retrieval", "retrieval_other_toys": "retrieval"},
    )
    assert [entry.label for entry in entries] == [
        "S³-Rec", "S³-Rec (retrieval_other)", "BPR-MF", "BPR-MF (retrieval_other)",
        "my own", "my own (retrieval_other)",
    ]  # fmt: skip


def test_what_reads_no_prompt_is_asked_the_same_by_p5s():
    figures = {"hr@1": 0.5, "hr@10": 0.5}
    tasks = {f"{name}_toys": figures for name in ("p5_2_7", "p5_direct", "ranking", "ranking_x")}
    entries = entries_of_baselines(
        {"popularity": tasks}, "toys", None, dict.fromkeys(tasks, "ranking")
    )
    assert [entry.prompt for entry in entries] == ["ranking", "ranking", "ranking", "ranking_x"]


def test_what_one_seed_alone_was_asked_counts_with_that_seed(shop, tmp_path):
    runs = [
        read_run(write_run(tmp_path / "a", shop, alone=True)),
        read_run(write_run(tmp_path / "b", shop, seed=1)),
    ]
    results = json.loads((tmp_path / "b" / "results.json").read_text())
    del results["tasks"]["retrieval_shop"]["ndcg@5"]
    results["tasks"]["rating_shop"]["num_examples"] = None
    (tmp_path / "b" / "results.json").write_text(json.dumps(results))
    runs[1] = read_run(tmp_path / "b")
    (system,) = systems_of_runs([(0, run) for run in runs], "shop")
    entries = entries_of_system(system, "shop")
    assert [(e.kind, len(e.outcomes)) for e in entries] == [
        ("retrieval", 2), ("ranking", 1), ("ranking", 1), ("rating", 1),
    ]  # fmt: skip
    assert entries[0].mean("ndcg@5") is None
    assert entries[0].mean("hr@10") == pytest.approx(5 / 8)
    assert [entry.num_examples for entry in entries] == [8, 8, 8, None]


def test_users_of_two_draws_are_other_users(shop, tmp_path):
    better = (0, 0, 0, 0, 0, 0, 0, INF)
    runs = [
        (3, read_run(write_run(tmp_path / "a", shop))),
        (1, read_run(write_run(tmp_path / "b", shop, ranks=better))),
    ]
    (system,) = systems_of_runs(runs, "shop")
    retrieval, *_, rating = entries_of_system(system, "shop")
    assert retrieval.num_examples == 16
    rows = retrieval.rows()
    assert rows.tolist() == [draw * DRAW + row for draw in (1, 3) for row in range(8)]
    # The users of draw 1 first, the second run's, then those of draw 3.
    assert retrieval.gains("hr@5", rows).tolist() == [1] * 7 + [0] + [1, 1, 1, 0, 0, 1, 0, 0]
    assert retrieval.gains("hr@5", rows[[0, 7, 8, 11]]).tolist() == [1, 0, 1, 0]
    assert [scores.shape for scores, _ in rating.scores(rows)] == [(1, 8), (1, 8)]
    assert [labels.tolist() for _, labels in rating.scores(rows[6:9])] == [[1, 1], [1]]


def test_a_metric_of_ones_own_and_exact_scores_have_their_place(shop, tmp_path):
    directory = write_run(tmp_path / "a", shop)
    results = json.loads((directory / "results.json").read_text())
    results["tasks"]["ranking_shop"] |= {"mrr": 0.5, "mrr_candidates": 0.75, "hr@1_exact": 0.25}
    (directory / "results.json").write_text(json.dumps(results))
    (system,) = systems_of_runs([(0, read_run(directory))], "shop")
    found = {e.decoding: e for e in entries_of_system(system, "shop") if e.kind == "ranking"}
    assert list(found) == ["", "candidates", "exact"]
    assert found[""].mean("mrr") == 0.5
    assert found["candidates"].mean("mrr") == 0.75
    assert found["exact"].values == {"hr@1": (0.25,)}
    assert found["exact"].label == "UT, 0.3M, by exact probability"


def test_a_task_of_which_nothing_is_said_is_in_no_table_and_a_gap(shop, tmp_path):
    directory = write_run(tmp_path / "a", shop)
    results = json.loads((directory / "results.json").read_text())
    del results["evaluated"]["rating_shop"]
    (directory / "results.json").write_text(json.dumps(results))
    run = read_run(directory)
    (system,) = systems_of_runs([(0, run)], "shop")
    assert {entry.kind for entry in entries_of_system(system, "shop")} == {"retrieval", "ranking"}
    assert any("does not say what rating_shop is" in gap for gap in run.gaps)
