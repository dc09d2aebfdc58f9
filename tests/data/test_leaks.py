import dataclasses

import numpy as np
import pytest

from recalign.data.interactions import Interactions, ItemTable
from recalign.data.leaks import format_leaks, leak_report
from recalign.data.prepare import prepare

USERS, LENGTH = 400, 6
_RAW = np.random.default_rng(1).permutation(10_000)  # raw ids that say nothing of the order


def log_of(items, timestamp=None):
    """A log of the users' rows of items, numbered here and given raw ids of their own."""
    flat = np.asarray(items).ravel().tolist()
    code_of = {item: code for code, item in enumerate(dict.fromkeys(flat))}
    return Interactions(
        [f"u{user}" for user in range(len(items))],
        [f"{_RAW[item]:05}" for item in code_of],
        np.repeat(np.arange(len(items)), len(flat) // len(items)).astype(np.int32),
        np.asarray([code_of[item] for item in flat], np.int32),
        timestamp,
    )


def verdicts(log, tmp_path, titles=None, **settings):
    titles = titles or [f"Thing number {raw_id} of many" for raw_id in log.item_ids]
    dataset = prepare(
        log,
        ItemTable.of_titles(log.item_ids, titles),
        name="leaky",
        data_dir=tmp_path,
        k_core=0,
        **settings,
    )
    leaks = leak_report(dataset)
    assert len(format_leaks(leaks).splitlines()) == len(leaks)
    return {leak.name: leak for leak in leaks}


@pytest.fixture
def distinct_users():
    """Users with items of their own, so that numbering along the sequences leaks all."""
    return log_of(np.arange(USERS * LENGTH).reshape(USERS, LENGTH))


def test_sequential_ids_leak_and_random_ids_do_not(distinct_users, tmp_path):
    leaky = verdicts(distinct_users, tmp_path, item_ids="sequential")
    assert leaky["ids within ±1"].leaks and leaky["ids within ±3"].leaks
    assert leaky["ids within ±1"].measured == 1.0
    assert "100.00% of 400 users" in leaky["ids within ±1"].explanation
    tight = verdicts(distinct_users, tmp_path, item_ids="random")
    assert not any(leak.leaks for leak in tight.values())


def test_a_title_that_contains_the_next_one_leaks(distinct_users, tmp_path):
    titles = [
        f"Book {i // LENGTH}" if i % LENGTH == LENGTH - 1 else f"Volume {i} with Book {i // LENGTH}"
        for i in range(USERS * LENGTH)
    ]
    leaks = verdicts(distinct_users, tmp_path, titles=titles)
    assert leaks["titles"].leaks and leaks["titles"].measured == 1.0
    assert not leaks["ids within ±1"].leaks


def test_duplicated_users_leak(tmp_path):
    items = np.random.default_rng(0).permuted(np.tile(np.arange(50), (USERS, 1)), axis=1)[:, :6]
    assert not verdicts(log_of(items), tmp_path)["duplicated users"].leaks
    items[:10] = items[10:20]
    leak = verdicts(log_of(items), tmp_path)["duplicated users"]
    assert leak.leaks and leak.measured == 10 / USERS


def test_ties_in_time_leak_where_most_users_end_with_one(distinct_users, tmp_path):
    time = np.tile(np.arange(LENGTH, dtype=np.float64), USERS)
    spread = log_of(np.arange(USERS * LENGTH).reshape(USERS, LENGTH), time)
    assert not verdicts(spread, tmp_path)["ties in time"].leaks
    tied = log_of(np.arange(USERS * LENGTH).reshape(USERS, LENGTH), np.zeros_like(time))
    assert verdicts(tied, tmp_path)["ties in time"].leaks
    assert "ties in time" not in verdicts(distinct_users, tmp_path)


def test_a_log_that_is_sorted_by_item_leaks_its_order(distinct_users, tmp_path):
    found = verdicts(distinct_users, tmp_path / "by_time")["order of raw IDs"]
    assert not found.leaks and found.chance == pytest.approx(1 / LENGTH)
    assert found.measured < 2 * found.chance
    # Numbers are compared as such: "9" before "10".
    by_item = dataclasses.replace(
        distinct_users, item_ids=[str(n) for n in range(len(distinct_users.item_ids))]
    )
    leak = verdicts(by_item, tmp_path / "by_item")["order of raw IDs"]
    assert leak.leaks and leak.measured == 1.0
    assert "is the highest of the user's for 100.00% of 400 users (16.67% by chance)" in (
        leak.explanation
    )
    falling = dataclasses.replace(by_item, item_ids=by_item.item_ids[::-1])
    falling = verdicts(falling, tmp_path / "falling")["order of raw IDs"]
    assert falling.leaks and "lowest" in falling.explanation


def test_one_user_is_too_few_to_tell_but_no_error(tmp_path):
    leaks = verdicts(log_of(np.arange(4).reshape(1, 4)), tmp_path)
    assert "ids within ±1" in leaks
