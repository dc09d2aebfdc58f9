from recalign.report.baselines import read_baselines
from recalign.report.corpora import gather
from recalign.report.run import read_run
from recalign.report.summary import headlines, lead, title
from tests.report.shop import INF, RETRIEVAL, Shop, write_baselines, write_run


def read(shop, tmp_path, **references):
    run = read_run(write_run(tmp_path / "ut", shop, alone=True, references=references))
    never = read_baselines(write_baselines(tmp_path / "b", {"sasrec": (INF,) * 8}))
    return gather([run], [never])


def test_what_was_run_on_what(shop, tmp_path):
    corpora = read(shop, tmp_path)
    assert title(corpora, ["ut"]) == "UT, 0.3M on shop"
    assert lead(corpora) == [
        "shop, test split, 8 users: 1 run (UT, 0.3M: 0.3M parameters from random weights),"
        " beside SASRec."
    ]


def test_the_headline_says_how_sure_it_is(shop, tmp_path):
    optimum = {"retrieval_shop": {"hr@10": 0.8}}
    (headline,) = headlines(read(shop, tmp_path, optimum=optimum))
    assert (headline.task, headline.value) == ("retrieval on shop, HR@10", 5 / 8)
    # Five of eight users: a binomial's quantiles.
    assert headline.interval == (2 / 8, 7 / 8)
    assert headline.beside == (
        "Best baseline: SASRec, 0.0000; +0.6250 [+0.2500, +0.8750], clearly above it.",
        "78 % of the optimum, 0.8000.",
    )
    assert headline.sentence().startswith(
        "Retrieval on shop, HR@10: UT, 0.3M, 0.6250 [0.2500, 0.8750]. Best baseline: SASRec"
    )
    assert headline.marks == (("SASRec", 0.0), ("Optimum", 0.8))


def test_the_best_baseline_is_the_best_whatever_it_is(shop, tmp_path):
    """A reference of results.json counts as one that was measured beside."""
    graph = {"retrieval_shop": {"hr@10": 0.7}}
    popularity = {"retrieval_shop": {"hr@10": 0.1}}
    (headline,) = headlines(read(shop, tmp_path, graph=graph, popularity=popularity))
    assert headline.beside[0].startswith("Best baseline: Transition graph, 0.7000")
    assert headline.marks == (("Transition graph", 0.7),)


def test_what_sequential_ids_give_away_is_no_headline(tmp_path):
    leaking = Shop(tmp_path / "data", item_ids="sequential")
    corpora = gather([read_run(write_run(tmp_path / "ut", leaking, alone=True))], [])
    assert headlines(corpora) == []
    assert "8 users, sequential IDs, which give answers away: 1 run" in lead(corpora)[0]


def test_a_baseline_without_outcomes_is_not_called_beaten(shop, tmp_path):
    references = {"popularity": {"retrieval_shop": {"hr@10": 0.1}}}
    run = read_run(write_run(tmp_path / "ut", shop, alone=True, references=references))
    (headline,) = headlines(gather([run], []))
    assert headline.beside == (
        "Best baseline: Popularity, 0.1000; how sure the difference of +0.5250 is, is not known.",
    )


def test_seeds_are_told(shop, tmp_path):
    runs = [read_run(write_run(tmp_path / f"{s}", shop, seed=s, alone=True)) for s in (0, 1)]
    folder = read_baselines(write_baselines(tmp_path / "b", {"popularity": RETRIEVAL}))
    (headline,) = headlines(gather(runs, [folder]))
    assert headline.beside == (
        "Mean of 2 seeds, ± 0.0000.",
        "Best baseline: Popularity, 0.6250; +0.0000 [+0.0000, +0.0000], not clearly apart.",
    )
