import pytest

from recalign.errors import UserError
from recalign.report.comparison import format_results, format_runs, share_of_optimum
from recalign.report.run import parse_results
from tests.report.shop import write_baselines

RESULTS = {
    "dataset": "demo",
    "mixture": "ut_demo",
    "checkpoint_step": 1200,
    "split": "test",
    "engine": "recalign",
    "tasks": {
        "retrieval_demo": {"hr@10": 0.5, "valid_id_rate": 1.0, "num_examples": 1000},
        "rating_demo": {"auc_roc": 0.7},
    },
    "references": {
        "zebra": {"retrieval_demo": {"hr@10": 0.25}},
        "optimum": {"retrieval_demo": {"hr@10": 0.8}, "rating_demo": {"auc_roc": 0.75}},
        "popularity": {"retrieval_demo": {"hr@10": 0.125}, "rating_demo": {"auc_roc": 0.5}},
    },
}


def test_the_table_a_user_reads():
    assert format_results(RESULTS) == (
        "ut_demo on demo, test split, step 1,200\n"
        "\n"
        "retrieval_demo (1,000 examples)\n"
        "  metric         this run  popularity  optimum   zebra  share of optimum\n"
        "  hr@10            0.5000      0.1250   0.8000  0.2500              62 %\n"
        "  valid_id_rate    1.0000           —        —       —                 —\n"
        "\n"
        "rating_demo\n"
        "  metric   this run  popularity  optimum  zebra  share of optimum\n"
        "  auc_roc    0.7000      0.5000   0.7500      —              80 %"
    )


def test_without_references_there_are_no_empty_columns():
    text = format_results({"tasks": {"retrieval_x": {"hr@10": 0.5}}})
    assert "popularity" not in text
    assert "optimum" not in text
    assert "0.5000" in text


def test_baselines_are_a_table_with_a_line_a_system(run_directory, tmp_path):
    folder = write_baselines(tmp_path / "pop", {"popularity": (0, 3), "sasrec": (9, 9)})
    text = format_runs([run_directory, folder])
    assert "== ut\nut_shop on shop, test split, step 40" in text
    assert "== pop\nbaselines on shop, test split\n\nretrieval_shop\n" in text
    assert text.endswith(
        "  system      ndcg@5  ndcg@10    hr@5   hr@10  seconds\n"
        "  popularity  0.7153   0.7153  1.0000  1.0000       90\n"
        "  sasrec      0.0000   0.2891  0.0000  1.0000       90"
    )


@pytest.mark.parametrize(
    ("metric", "ours", "optimum", "share"),
    [
        ("hr@10", 0.4, 0.8, 0.5),
        ("ndcg@5_candidates", 0.2, 0.8, 0.25),
        ("auc_roc", 0.65, 0.8, 0.5),
        ("auc_roc", 0.4, 0.9, -0.25),
        ("auc_roc", 0.6, 0.5, None),
        ("hr@1", 0.0, 0.0, None),
        ("hr@1", 0.3, None, None),
        ("valid_id_rate", 0.9, 1.0, None),
    ],
)
def test_share_of_optimum(metric, ours, optimum, share):
    assert share_of_optimum(metric, ours, optimum) == pytest.approx(share)


@pytest.mark.parametrize(
    "raw", [[], {}, {"tasks": []}, {"tasks": {"a": 1}}, {"tasks": {}, "references": 3}]
)
def test_what_is_no_results_file_is_refused(raw):
    with pytest.raises(UserError, match="x.json"):
        parse_results(raw, "x.json")
