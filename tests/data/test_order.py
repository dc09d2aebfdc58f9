import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recalign.data.order import first_interactions, k_core, time_order


def test_time_decides_and_ties_keep_the_order_of_the_file(small_log):
    order = time_order(small_log)
    items = [small_log.item_ids[code] for code in small_log.item[order]]
    users = [small_log.user_ids[code] for code in small_log.user[order]]
    assert users == ["u1"] * 3 + ["u2"] * 4 + ["u3"] * 3 + ["u4"] * 2
    assert items == ["a", "b", "c", "a", "b", "d", "e", "c", "e", "a", "d", "e"]


def test_without_timestamps_the_order_of_the_file_is_the_order(make_log):
    log = make_log([("u", "c"), ("v", "a"), ("u", "b"), ("u", "a")])
    assert time_order(log).tolist() == [0, 2, 3, 1]


def test_the_earliest_of_repeats_stays(make_log):
    log = make_log([("u", "a", 3), ("u", "b", 2), ("u", "a", 1), ("v", "a", 9), ("u", "a", 1)])
    assert first_interactions(log, time_order(log)).tolist() == [2, 1, 3]


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30
    )
)
def test_any_log_is_ordered_as_a_plain_sort_orders_it(make_log, rows):
    log = make_log(rows)
    users = list(dict.fromkeys(row[0] for row in rows))
    plain = sorted(range(len(rows)), key=lambda i: (users.index(rows[i][0]), rows[i][2], i))
    assert time_order(log).tolist() == plain
    seen, firsts = set(), []
    for position in plain:
        if rows[position][:2] not in seen:
            firsts.append(position)
            seen.add(rows[position][:2])
    assert first_interactions(log, np.asarray(plain)).tolist() == firsts


def test_dropping_an_item_drops_its_user_in_the_next_round():
    # Item 2 occurs once. Without it user 1 has one item left, and without that item 1 has one.
    user = np.asarray([0, 0, 1, 1, 2, 2, 0], np.int32)
    item = np.asarray([0, 3, 1, 2, 0, 3, 1], np.int32)
    keep = k_core(user, item, user_minimum=2, item_minimum=2)
    assert keep.tolist() == [True, True, False, False, True, True, False]


def test_a_core_of_one_keeps_all_and_a_large_one_nothing():
    user, item = np.asarray([0, 0, 1], np.int32), np.asarray([0, 1, 0], np.int32)
    assert k_core(user, item, user_minimum=1, item_minimum=1).all()
    assert not k_core(user, item, user_minimum=3, item_minimum=1).any()
    assert k_core(user[:0], item[:0], user_minimum=3, item_minimum=1).tolist() == []


def one_at_a_time(pairs, minimum):
    """Drops the first user or item with too few until none is left."""
    pairs = list(pairs)
    while True:
        for side in (0, 1):
            values = [pair[side] for pair in pairs]
            poor = [value for value in values if values.count(value) < minimum]
            if poor:
                pairs = [pair for pair in pairs if pair[side] != poor[0]]
                break
        else:
            return pairs


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), unique=True, max_size=36),
    st.integers(0, 4),
)
def test_any_core_is_the_one_of_dropping_one_at_a_time(pairs, minimum):
    user = np.asarray([pair[0] for pair in pairs], np.int32)
    item = np.asarray([pair[1] for pair in pairs], np.int32)
    keep = k_core(user, item, user_minimum=minimum, item_minimum=minimum)
    kept = [pair for pair, stays in zip(pairs, keep, strict=True) if stays]
    assert kept == one_at_a_time(pairs, minimum)
