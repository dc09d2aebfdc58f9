import numpy as np
import pytest

from recalign.report.analysis import panels_by_user
from recalign.report.corpora import gather
from recalign.report.run import read_run
from recalign.report.slices import bins_of, by_history, by_popularity, by_position
from tests.report import shop as made


@pytest.fixture
def corpus(run_directory):
    return gather([read_run(run_directory)], [])[0]


def test_hits_by_length_of_history(corpus):
    found = by_history(corpus, corpus.of_kind("retrieval"))
    # User n has n % 3 + 2 items before: users 0, 3, 6; 1, 4, 7; 2, 5.
    assert [(bin.label, bin.users) for bin in found.bins] == [("2", 3), ("3", 3), ("4", 2)]
    ((_, figures),) = found.figures
    # Found within ten: 0 and 3 of the first, 1 of the second, 2 and 5 of the third.
    assert [mean for mean, _ in figures] == pytest.approx([2 / 3, 1 / 3, 1.0])
    assert figures[2][1] == (1.0, 1.0)
    assert figures[1][1] == (0.0, 1.0)


def test_hits_by_popularity_of_the_item(corpus, shop):
    found = by_popularity(corpus, corpus.of_kind("retrieval"))
    catalogue = shop.dataset.catalogue
    counts = np.array([catalogue.train_counts[catalogue.index_of(t)] for t in shop.targets])
    assert sum(bin.users for bin in found.bins) == made.USERS
    ((_, figures),) = found.figures
    for bin, (mean, _) in zip(found.bins, figures, strict=True):
        inside = (counts >= bin.low) & (counts <= bin.high)
        assert bin.users == inside.sum()
        assert mean == pytest.approx(np.mean(np.array(made.RETRIEVAL)[inside] < 10))


def test_items_unseen_in_training_are_the_cold_slice(corpus):
    found = by_popularity(corpus, corpus.of_kind("retrieval"))
    # 10, of users 2, 4 and 6, is in no training part; 1, of 5 and 7, in one; 4 and 7 in two each.
    assert [(b.label, b.users) for b in found.bins] == [("0 (cold)", 3), ("1", 2), ("2", 3)]
    assert found.note == (
        "0 (cold): the cold slice, users whose item is unseen in training: 3 of 8 (37.5 %)."
    )
    ((_, figures),) = found.figures
    assert figures[0][0] == pytest.approx(1 / 3)
    (panel,) = [
        p
        for p in panels_by_user(corpus)
        if "HR@10" in p.table.title and "in training" in p.table.title
    ]
    assert panel.table.columns == ("system", "0 (cold)", "1", "2")
    assert panel.table.notes[0] == found.note
    assert panel.chart.title.endswith(f"in training. {found.note}")
    assert found.note in panel.chart.summary and ">0 (cold)<" in panel.chart.svg


def test_first_hits_by_place_in_the_prompt(corpus):
    found = by_position(corpus, corpus.of_kind("ranking"))
    # The answer of user n stands at place n % 4 + 1.
    assert [(bin.label, bin.users) for bin in found.bins] == [(str(n), 2) for n in (1, 2, 3, 4)]
    plain, pooled = (figures for _, figures in found.figures)
    assert [mean for mean, _ in plain] == [0.5, 0.5, 0.0, 0.0]
    assert [mean for mean, _ in pooled] == [0.5, 0.5, 1.0, 0.0]


def test_without_the_dataset_there_are_no_slices_by_it(run_directory, tmp_path):
    (corpus,) = gather([read_run(run_directory)], [], tmp_path)
    assert by_history(corpus, corpus.of_kind("retrieval")) is None
    assert by_popularity(corpus, corpus.of_kind("retrieval")) is None
    assert by_position(corpus, corpus.of_kind("ranking")) is not None


def test_bins_hold_about_as_many_and_never_part_what_is_equal():
    values = np.repeat([1, 2, 3, 4, 5, 6], [10, 10, 10, 10, 5, 5])
    assert [(b.label, b.users) for b in bins_of(values)] == [
        ("1", 10), ("2", 10), ("3", 10), ("4", 10), ("5–6", 10),
    ]  # fmt: skip
    assert [b.label for b in bins_of(np.zeros(9, int))] == ["0"]
