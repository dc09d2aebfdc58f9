import json
import types

import numpy as np
import pytest

from recalign.data.interactions import Interactions, ItemTable
from recalign.data.prepare import prepare
from recalign.data.statistics import (
    NO_REVIEWS,
    PAPER_TABLE_7,
    PAPER_TABLE_10,
    dataset_statistics,
)
from recalign.errors import UserError
from recalign.report.dataset_tables import statistics_text, table_10

NO_ITEMS = ItemTable([], [], [], [], [], [])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Users of 3, 5 and 8 items, with ratings."""
    user = np.repeat([0, 1, 2], [3, 5, 8]).astype(np.int32)
    item = np.concatenate([np.arange(3), np.arange(5), np.arange(8)]).astype(np.int32)
    log = Interactions(
        list("uvw"),
        [f"i{i}" for i in range(8)],
        user,
        item,
        None,
        np.tile(np.float32([1, 5]), 8),
    )
    return prepare(log, NO_ITEMS, name="d", data_dir=tmp_path_factory.mktemp("data"), k_core=0)


def test_the_shape_and_the_figures_of_stats(dataset):
    statistics = dataset_statistics(dataset, history_length=2)
    # Training parts of 1, 3 and 6 items with windows of 2: 0 + 1 + 4 pairs, 1 + 2 + 5 windows.
    assert json.loads(json.dumps(statistics)) == {
        "users": 3,
        "items": 8,
        "interactions": 16,
        "sparsity_percent": pytest.approx(100 * (1 - 16 / 24)),
        "sequence_length_mean": pytest.approx(16 / 3),
        "sequence_length_std": pytest.approx(np.std([3, 5, 8])),
        "samples": {
            "retrieval": {"train": 5, "validation": 3, "test": 3},
            "ranking": {"train": 5, "validation": 3, "test": 3},
            "rating": {"train": 5, "validation": 3, "test": 3},
            "mim": {"train": 8, "validation": 0, "test": 0},
            "mlm": {"train": 7, "validation": 0, "test": 0},
            "bpr": {"train": 5, "validation": 0, "test": 0},
            "p5_sequential": {"train": 5, "validation": 3, "test": 3},
            "p5_direct": {"train": 3, "validation": 3, "test": 3},
            "p5_rating": {"train": 10, "validation": 3, "test": 3},
        },
        "omitted": {"p5_explanation": NO_REVIEWS, "p5_review": NO_REVIEWS},
        "notes": [
            "8 of 8 items have no title: named by brand and category, or by raw id",
            "ratings from 1 to 5: 50.0 % are likes (above 3; --like_threshold)",
        ],
    }


def test_the_sparsity_is_of_pairs_where_repeats_are_kept(make_log, tmp_path):
    # u: a b c and a four times more; v: a b d. Six pairs of two users and four items.
    plays = [*("u" + item for item in "abcaaaa"), *("v" + item for item in "abd")]
    log = make_log([(user, item, time) for time, (user, item) in enumerate(plays)])
    settings = {"data_dir": tmp_path, "k_core": 0, "keep_repeats": True}
    dataset = prepare(log, NO_ITEMS, name="again", **settings)
    statistics = dataset_statistics(dataset)
    counts = [statistics[name] for name in ("users", "items", "interactions")]
    assert counts == [2, 4, 10]
    assert statistics["sparsity_percent"] == pytest.approx(25)


def test_without_ratings_there_is_no_rating_task_and_a_reason(make_log, tmp_path):
    log = make_log([("u", item) for item in "abc"])
    bare = prepare(log, NO_ITEMS, name="bare", data_dir=tmp_path, k_core=0)
    statistics = dataset_statistics(bare)
    assert "rating" not in statistics["samples"]
    assert statistics["omitted"] == {
        "rating": "the log has no ratings",
        "p5_rating": "the log has no ratings",
        "p5_explanation": NO_REVIEWS,
        "p5_review": NO_REVIEWS,
    }
    assert "No rating: the log has no ratings." in table_10("bare", bare, 20).notes


def test_the_text_holds_both_tables(dataset):
    assert statistics_text("d", dataset, 2).splitlines() == [
        "Table 7. The datasets",
        "dataset  users  items  interactions  sparsity %  sequence length",
        "d            3      8            16       33.33      5.33 ± 2.05",
        "",
        "Table 10. Samples: d",
        "task           train  validation  test",
        "retrieval          5           3     3",
        "ranking            5           3     3",
        "rating             5           3     3",
        "mim                8           0     0",
        "mlm                7           0     0",
        "bpr                5           0     0",
        "p5_sequential      5           3     3",
        "p5_direct          3           3     3",
        "p5_rating         10           3     3",
        "Histories of up to 2 items.",
        "No p5_explanation: no review texts were kept (prepare --review_texts).",
        "No p5_review: no review texts were kept (prepare --review_texts).",
        "",
        "noticed when it was prepared:",
        "8 of 8 items have no title: named by brand and category, or by raw id",
        "ratings from 1 to 5: 50.0 % are likes (above 3; --like_threshold)",
    ]


def test_the_papers_figures_stand_beside_those_of_its_datasets(dataset):
    toys = types.SimpleNamespace(
        **{name: getattr(dataset, name) for name in ("info", "sequences", "no_ratings")},
        **{"name": "toys", "has_reviews": False},
    )
    lines = statistics_text("toys", toys, 2).splitlines()
    paper = ["toys,", "paper", "19,412", "11,924", "167,597", "99.93", "8.63", "±", "8.51"]
    assert lines[3].split() == paper
    assert lines[6].split()[:5] == ["task", "train,", "paper", "train,", "ours"]
    assert lines[7].split() == ["retrieval", "30,761", "5", "3,000", "3", "19,412", "3"]
    assert lines[10].split() == ["mim", "DS", "8", "0", "0", "0", "0"]


def test_the_papers_two_tables_agree():
    for name, samples in PAPER_TABLE_10.items():
        assert samples["test"] == PAPER_TABLE_7[name]["users"]


def test_a_history_without_items(dataset):
    with pytest.raises(UserError, match="history_length 0"):
        dataset_statistics(dataset, history_length=0)
