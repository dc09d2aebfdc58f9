import numpy as np
import pytest
import scipy.stats

from recalign.report.baselines import read_baselines
from recalign.report.corpora import gather
from recalign.report.differences import claims, difference, differences_table, interval_of, span
from recalign.report.entries import Entry
from recalign.report.outcomes import Ranks, Scores, in_draw
from recalign.report.run import read_run
from recalign.report.systems import System
from tests.report.shop import INF, write_baselines, write_run


def entry(label: str, kind: str, *outcomes, **values) -> Entry:
    known = {name.replace("_at_", "@"): value for name, value in values.items()}
    return Entry(System(label, label, True), kind, kind, "", known, outcomes, None)


def ranks(found, rows=None) -> Ranks:
    rows = np.arange(len(found)) if rows is None else np.array(rows)
    return Ranks(rows, np.array(found, float))


def test_a_difference_whose_interval_is_known():
    # 16 of 64 users are found by the first alone: the difference is a binomial's share of 64.
    first = entry("a", "retrieval", ranks([0] * 16 + [INF] * 48), hr_at_10=(0.25,))
    second = entry("b", "retrieval", ranks([INF] * 64), hr_at_10=(0.0,))
    found = difference(first, second, "hr@10")
    assert (found.value, found.users, found.percent) == (0.25, 64, None)
    expected = scipy.stats.binom.ppf([0.025, 0.975], 64, 0.25) / 64
    assert found.interval == pytest.approx(tuple(expected), abs=1e-9)
    assert found.interval.clear


def test_it_is_paired_by_row_and_taken_over_the_users_of_both():
    first = entry("a", "retrieval", ranks([0, 0, 0, INF]), hr_at_10=(0.75,))
    # Rows 1 to 3 and 9; the same users are found.
    second = entry("b", "retrieval", ranks([0, 0, INF, 0], [1, 2, 3, 9]), hr_at_10=(0.75,))
    found = difference(first, second, "hr@10")
    assert (found.value, found.users) == (0.0, 3)
    assert found.interval == (0.0, 0.0)
    assert not found.interval.clear


def test_seeds_are_averaged_user_by_user():
    first = entry("a", "retrieval", ranks([0, 0]), ranks([0, INF]), hr_at_10=(1.0, 0.5))
    second = entry("b", "retrieval", ranks([0, INF]), hr_at_10=(0.5,))
    found = difference(first, second, "hr@10")
    assert found.value == pytest.approx(0.25)
    assert found.interval == (0.0, 0.5)  # resamples of users with 0 and 0.5 more


def test_a_difference_that_a_seed_does_not_have_is_said_to_be_one():
    one, other = [0] * 30 + [INF] * 10, [INF] * 30 + [0] * 10
    first = entry("a", "retrieval", *map(ranks, (one, one, other)), hr_at_10=(0.75, 0.75, 0.25))
    second = entry("b", "retrieval", *[ranks([0] * 4 + [INF] * 36)] * 3, hr_at_10=(0.1,) * 3)
    third = entry("c", "retrieval", *[ranks([INF] * 28 + [0] * 12)] * 3, hr_at_10=(0.3,) * 3)
    table = differences_table("x", [difference(first, each, "hr@10") for each in (second, third)])
    found = [(row[7].text, row[9].text) for row in table.rows]
    assert found == [
        ("higher", "+0.6500, +0.6500, +0.1500"),
        ("higher, not in every seed", "+0.4500, +0.4500, −0.0500"),
    ]


def test_areas_are_compared_over_the_same_users():
    labels = np.tile([0, 1], 100).astype(np.int8)
    rows = np.arange(200)
    generator = np.random.default_rng(0)
    right = Scores(rows, labels + 0.5 * generator.random(200), labels)
    guess = Scores(rows, generator.random(200), labels)
    first, second = entry("a", "rating", right, auc_roc=(1.0,)), entry("b", "rating", guess)
    second.values["auc_roc"] = (0.5,)
    found = difference(first, second, "auc_roc")
    own = interval_of(second, "auc_roc")
    # The first is always right: the difference is 1 less the second's own area.
    assert found.interval == pytest.approx((1 - own.high, 1 - own.low))


def test_areas_are_compared_over_the_draws_of_both():
    labels = np.tile([0, 1], 20).astype(np.int8)
    right = Scores(np.arange(40), labels.astype(float), labels)
    wrong = Scores(np.arange(40), -labels.astype(float), labels)
    first = entry("a", "rating", in_draw(wrong, 2), in_draw(right, 5), auc_roc=(0.0, 1.0))
    second = entry("b", "rating", in_draw(wrong, 5), auc_roc=(0.0,))
    found = difference(first, second, "auc_roc")
    assert (found.figures, found.users, found.interval) == ((1.0, 0.0), 40, (1.0, 1.0))
    assert found.of_seeds == ()


def test_without_outcomes_there_is_a_difference_but_no_interval():
    first = entry("a", "retrieval", ranks([0, 0]), hr_at_10=(1.0,))
    second = entry("b", "retrieval", hr_at_10=(0.5,))
    found = difference(first, second, "hr@10")
    assert (found.value, found.percent, found.interval) == (0.5, pytest.approx(100), None)
    assert difference(first, entry("c", "retrieval"), "hr@10") is None


@pytest.fixture
def corpus(shop, tmp_path):
    better = (0, 0, 0, 0, 0, 0, 0, INF)
    runs = [
        read_run(write_run(tmp_path / "ut", shop, alone=True)),
        read_run(write_run(tmp_path / "at", shop, mixture="ut_at_shop", ranks=better, alone=True)),
    ]
    weak, strong = (20,) * 8, (0, 20, 20, 0, 20, 0, 20, 0)
    folder = write_baselines(tmp_path / "b", {"popularity": weak, "sasrec": strong})
    return gather(runs, [read_baselines(folder)])[0]


def test_ours_is_claimed_against_the_best_baseline_and_runs_against_each_other(corpus):
    found = [(d.first.label, d.second.label, d.metric) for d in claims(corpus, "retrieval")]
    best = [("UT+AT, 0.3M", "SASRec", m) for m in ("ndcg@5", "ndcg@10", "hr@5", "hr@10")]
    assert found[:4] == best
    assert set(found[4:]) == {
        ("UT, 0.3M", "SASRec", "hr@10"),
        *(("UT, 0.3M", "UT+AT, 0.3M", m) for m in ("ndcg@5", "ndcg@10", "hr@5", "hr@10")),
    }
    assert claims(corpus, "ranking") == []


def test_the_table_of_differences(corpus):
    table = differences_table("retrieval on shop", claims(corpus, "retrieval"))
    assert (table.key, table.title) == (
        "differences-retrieval-on-shop",
        "Differences: retrieval on shop",
    )
    row = next(r for r in table.rows if r[0].text == "UT, 0.3M" and r[1].text == "SASRec")
    texts = [cell.text for cell in row]
    # 5 of 8 against 4 of 8.
    assert texts[2:6] == ["HR@10", "0.6250", "0.5000", "+0.1250"]
    assert texts[7:] == ["not clear", "+25.0", "8"]
    assert texts[6] == span(
        difference(
            *[e for e in corpus.entries if e.label in ("UT, 0.3M", "SASRec")], "hr@10"
        ).interval,
        4,
    )
    assert differences_table("ranking on shop", []) is None
