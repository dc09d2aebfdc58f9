"""Items that came after training, where IDs are semantic: beside the trained ones, and marked."""

import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from recalign import cli
from recalign.trainer.recommend import Recommender

NEW = ("n1", "n2", "n3")


@pytest.fixture(scope="module")
def new_items(semantic_run, tmp_path_factory):
    """Three new items, one of them with the title of an old one, and that old one."""
    _, dataset = semantic_run
    title = dataset.catalogue.titles[4]
    lines = [f"n1,{title}", "n2,wooden castle", "n3,dragon kite robot"]
    lines.append(f"{dataset.catalogue.raw_ids[4]},{title}")
    file = tmp_path_factory.mktemp("new") / "new.csv"
    file.write_text("\n".join(["item,title", *lines]))
    return str(file)


@pytest.fixture(scope="module")
def before(semantic_run):
    return Recommender(semantic_run[0], largest_batch=4)


@pytest.fixture(scope="module")
def after(semantic_run, new_items):
    return Recommender(semantic_run[0], largest_batch=4, new_items=new_items)


def by_raw_id(items):
    return {item.raw_id: item.log_prob for item in items}


def test_trained_items_keep_their_probabilities(before, after):
    history = before.dataset.catalogue.ids[:2]
    expected = by_raw_id(before.recommend(history, 60))
    items = after.recommend(history, 60)
    assert {item.raw_id for item in items if item.untrained} == set(NEW)
    found = by_raw_id(items)
    assert set(found) == {*expected, *NEW}
    assert [item.log_prob for item in items] == sorted(found.values(), reverse=True)
    np.testing.assert_allclose(
        [found[raw] for raw in expected], list(expected.values()), rtol=1e-5, atol=1e-5
    )


def test_a_request_can_leave_them_out(before, after):
    history = before.dataset.catalogue.ids[:2]
    found = after.recommend(history, 60, untrained=False)
    assert [item.id for item in found] == [item.id for item in before.recommend(history, 60)]
    assert not any(item.untrained for item in found)
    only = after.recommend(history, 5, ["n1", after.dataset.catalogue.ids[7]], untrained=False)
    assert [item.id for item in only] == [after.dataset.catalogue.ids[7]]


def test_a_history_may_hold_them(after):
    """They are shown to the model, count as a choice and are not recommended again."""
    id_ = after.dataset.catalogue.ids[51]
    found = after.recommend(["n2", after.dataset.catalogue.ids[0]], 60)
    assert len(found) == 51 and id_ not in {item.id for item in found}
    (shown,) = after._prompts([after.query(["n2"], 1)])
    (other,) = after._prompts([after.query(["n3"], 1)])
    assert shown.tolist() != other.tolist()
    assert [item.raw_id for item in after.recommend(["n2"], 9, ["n1", "n2"])] == ["n1"]


def test_the_command_line_marks_them(semantic_run, new_items, tmp_path, monkeypatch, capsys):
    model_dir, dataset = semantic_run
    words = ["recommend", "--model_dir", model_dir, "--new_items", new_items]
    first = dataset.catalogue.ids[0]
    assert cli.main([*words, "--history", first, "--k", "60", "--json"]) == 0
    answered, told = capsys.readouterr()
    assert {it["raw_id"] for it in json.loads(answered) if it["untrained"]} == set(NEW)
    assert "3 new items, which the model was not trained on, beside 50; 1 of the file" in told
    assert cli.main([*words, "--history", f"{first},n1", "--k", "60"]) == 0
    assert capsys.readouterr().out.count("  (untrained)\n") == 2
    lines = [{"history": [first], "k": 60}, {"history": ["n1"], "k": 60, "untrained": False}]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(map(json.dumps, lines))))
    assert cli.main([*words, "--jsonl"]) == 0
    for line, count in zip(capsys.readouterr().out.splitlines(), (3, 0), strict=True):
        assert sum(it["untrained"] for it in json.loads(line)["items"]) == count
    out = tmp_path / "all.parquet"
    assert cli.main([*words, "--all", "--k", "51", "--out", str(out)]) == 0
    rows = pq.read_table(out).to_pylist()
    assert {row["raw_id"] for row in rows if row["untrained"]} == set(NEW)
    assert sum(row["untrained"] for row in rows) == 3 * 60


def test_ids_that_say_nothing_of_items_are_refused(trained, new_items, capsys):
    model_dir = trained[0].model_dir
    words = ["recommend", "--model_dir", model_dir, "--history", "I3", "--new_items", new_items]
    assert cli.main(words) == 2
    assert "dataset 'tiny' has random IDs, which say nothing of an item" in capsys.readouterr().err
