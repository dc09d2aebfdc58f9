"""A split by time, counted by hand."""

import numpy as np
import pytest

from recalign.data.interactions import ItemTable
from recalign.data.leaks import leak_report
from recalign.data.prepare import prepare
from recalign.data.temporal import check_split, find_cuts, moment
from recalign.errors import UserError

NO_ITEMS = ItemTable([], [], [], [], [], [])

# Days; cuts at 10 and 20. u3 has nothing after day 10, u4 nothing before it, u5 no validation item.
ROWS = [
    *[("u1", item, day) for item, day in [("a", 1), ("b", 2), ("c", 12), ("d", 14), ("e", 25)]],
    *[("u2", item, day) for item, day in [("b", 3), ("c", 4), ("a", 11), ("new", 21), ("d", 22)]],
    *[("u3", item, day) for item, day in [("a", 5), ("b", 6), ("c", 7)]],
    *[("u4", item, day) for item, day in [("a", 13), ("b", 15), ("c", 24)]],
    *[("u5", item, day) for item, day in [("d", 8), ("a", 9), ("b", 20)]],
]


@pytest.fixture
def dataset(make_log, tmp_path):
    return prepare(
        make_log(ROWS),
        NO_ITEMS,
        name="days",
        data_dir=tmp_path,
        k_core=0,
        split="temporal",
        cuts=("10", "20"),
    )


def shown(dataset, split):
    """user -> (items shown, the rest), raw."""
    raw = dataset.catalogue.raw_ids
    sequences = dataset.sequences(split)
    found = {}
    for number, user in enumerate(sequences.users):
        items = sequences.items[slice(*sequences.row_splits[number : number + 2])]
        rest = sequences.unseen[slice(*sequences.unseen_splits[number : number + 2])]
        found[user] = ([raw[i] for i in items], [raw[i] for i in rest])
    return found


def test_training_ends_at_the_first_cut(dataset):
    assert shown(dataset, "train") == {
        "u1": (["a", "b"], ["c", "d", "e"]),
        "u2": (["b", "c"], ["a", "new", "d"]),
        "u3": (["a", "b", "c"], []),
        "u5": (["d", "a"], ["b"]),
    }


def test_the_next_item_after_each_cut_is_asked_for(dataset):
    assert shown(dataset, "validation") == {
        "u1": (["a", "b", "c"], ["d", "e"]),
        "u2": (["b", "c", "a"], ["new", "d"]),
    }
    assert shown(dataset, "test") == {
        "u1": (["a", "b", "c", "d", "e"], []),
        "u2": (["b", "c", "a", "new"], ["d"]),
        "u5": (["d", "a", "b"], []),
    }


def test_rows_are_those_of_training(dataset):
    assert dataset.sequences("train").rows.tolist() == [0, 1, 2, 3]
    assert dataset.sequences("validation").rows.tolist() == [0, 1]
    assert dataset.sequences("test").rows.tolist() == [0, 1, 3]


def test_popularity_knows_training_alone_and_unseen_items_are_counted(dataset):
    counts = dict(zip(dataset.catalogue.raw_ids, dataset.catalogue.train_counts, strict=True))
    assert counts == {"a": 3, "b": 3, "c": 2, "d": 1, "e": 0, "new": 0}
    notes = dataset.info["notes"]
    assert "1 users without an item before the first cut dropped (3 interactions)" in notes
    assert (
        "split by time at 10 and 20: 4 users to train on, 2 with a validation item, 3 with a test"
        " item"
    ) in notes
    assert ("2 of 6 items are in no training part, and so are 2 of 3 test items (66.7 %)") in notes
    assert (dataset.info["split"], dataset.info["cuts"]) == ("temporal", [10.0, 20.0])


def test_leave_one_out_trains_on_what_came_after_the_test(make_log, tmp_path, dataset):
    # u1 is asked about z at 4; u2 trains on z at 8. u2 is asked about c at 12, trained on at 3.
    rows = [("u1", item, day) for item, day in [("c", 3), ("x", 1), ("y", 2), ("z", 4)]]
    rows = sorted(rows, key=lambda row: row[2])
    rows += [("u2", item, day) for item, day in [("z", 8), ("x", 9), ("y", 10), ("c", 12)]]
    leaving = prepare(make_log(rows), NO_ITEMS, name="one", data_dir=tmp_path, k_core=0)
    assert leaving.info["trained_later_fraction"] == 0.5
    (leak,) = [leak for leak in leak_report(leaving) if "after the test" in leak.name]
    assert (leak.measured, leak.risk, leak.leaks) == (0.5, True, False)
    assert "the test item of 50.00% of 2 users is in training parts of others" in leak.explanation
    assert dataset.info["trained_later_fraction"] == 0.0


def test_without_cuts_a_tenth_of_the_interactions_is_behind_each(make_log):
    time = np.arange(100.0)
    assert find_cuts(time, ()) == (80.0, 90.0)


def test_dates_are_taken_in_the_logs_unit():
    milliseconds = np.linspace(1.30e12, 1.50e12, 50)
    first, second = find_cuts(milliseconds, ("2014-01-01", "2015-01-01"))
    assert (first, second) == (1388534400000.0, 1420070400000.0)
    assert moment(first) == "2014-01-01 00:00"


@pytest.mark.parametrize(
    ("method", "cuts", "message"),
    [
        ("by_moon", (), "--split 'by_moon' is none of leave_one_out, temporal"),
        ("leave_one_out", ("1", "2"), "--cuts without --split temporal"),
        ("temporal", ("1",), "two moments are needed"),
        ("temporal", ("2015-01-01", "2014-01-01"), "the earlier one first"),
        ("temporal", ("soon", "later"), "--cuts soon,later: no time"),
    ],
)
def test_ways_to_split_that_cannot_be(method, cuts, message):
    with pytest.raises(UserError, match=message):
        check_split(method, cuts)


def test_cuts_outside_the_log_and_a_log_without_times(make_log, tmp_path):
    settings = {"name": "d", "data_dir": tmp_path, "k_core": 0, "split": "temporal"}
    with pytest.raises(UserError, match="leave nothing on one side .* goes from 1 to 25"):
        prepare(make_log(ROWS), NO_ITEMS, cuts=("30", "40"), **settings)
    with pytest.raises(UserError, match="--split temporal needs times"):
        prepare(make_log([row[:2] for row in ROWS]), NO_ITEMS, **settings)


def test_baselines_know_what_a_user_had_before_the_test_item(dataset):
    from recalign.baselines.question import _seen

    seen = _seen(dataset.sequences("test"), len(dataset.sequences("train")))
    raw = dataset.catalogue.raw_ids
    parts = np.split(seen.items, seen.splits[1:-1])
    assert [[raw[i] for i in part] for part in parts] == [
        ["a", "b", "c", "d"],
        ["b", "c", "a"],
        [],
        ["d", "a"],
    ]
