import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recalign.data.order import first_interactions, time_order


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
