"""Many histories at once: as one by one, in memory, from several threads, and into a file."""

import concurrent.futures
import io
import json
import pathlib

import numpy as np
import pyarrow.parquet as pq
import pytest

import recalign
from recalign import cli
from recalign.data.prepared import open_dataset
from recalign.errors import UserError
from recalign.serve.histories import histories_of_dataset
from recalign.trainer import decoding
from recalign.trainer.recommend import Recommender


@pytest.fixture(scope="module")
def recommender(trained):
    return Recommender(trained[0].model_dir, largest_batch=4)


def assert_alike(found, expected):
    """The same items in the same order, and the same probabilities to 1e-5."""
    assert [item.id for item in found] == [item.id for item in expected]
    np.testing.assert_allclose(
        [item.score for item in found], [item.score for item in expected], atol=1e-5
    )


def histories(seed, count):
    draw = np.random.default_rng(seed)
    return [[f"I{n}" for n in draw.integers(1, 51, draw.integers(1, 9))] for _ in range(count)]


def test_a_batch_is_answered_as_one_by_one(recommender):
    """Histories of any length, numbers of items, choices and exclusions in one batch."""
    asked = [
        (history, 3 + number % 18, None if number % 3 else [f"I{n}" for n in range(1, 30)])
        for number, history in enumerate(histories(0, 21))
    ]
    queries = [recommender.query(h, k, only, exclude=["I7"]) for h, k, only in asked]
    for found, (history, k, only) in zip(recommender.answer(queries), asked, strict=True):
        assert_alike(found, recommender.recommend(history, k, only, exclude=["I7"]))
        assert len(found) <= k and "I7" not in {item.id for item in found}


def test_the_public_name_and_its_methods(recommender, trained):
    assert recalign.Recommender is Recommender
    many = recommender.recommend_many([["I3", "I17"], ["I42"]], k=5, only=["I3", "I5", "I8"])
    assert_alike(many[0], recommender.recommend(["I3", "I17"], 5, ["I3", "I5", "I8"]))
    assert {item.id for item in many[1]} == {"I3", "I5", "I8"}
    assert recommender.recommend_many([]) == []
    with pytest.raises(UserError, match="exclude: .*'x'"):
        recommender.recommend(["I3"], exclude=["x"])


def test_nothing_is_compiled_after_a_warm_up_for_batches(recommender):
    recommender.warm_up(20, together=True)
    compiled = decoding._decode._cache_size()
    for count in range(1, 12):
        recommender.recommend_many(histories(count, count), 10)
    assert decoding._decode._cache_size() == compiled


def test_threads_share_a_recommender(recommender):
    asked = histories(1, 12)
    expected = [recommender.recommend(history, 5) for history in asked]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda history: recommender.recommend(history, 5), asked))
    assert found == expected


def test_every_user_into_a_file(trained, recommender, data_dir, tmp_path, capsys):
    """What follows the whole history, the test item included, as `recommend` answers it."""
    out, run = tmp_path / "all.parquet", trained[0].model_dir
    words = ["recommend", "--model_dir", run, "--all", "--out", str(out), "--k", "4"]
    assert cli.main([*words, "--largest_batch", "4"]) == 0
    assert "60 of 60 users | " in capsys.readouterr().err
    rows = pq.read_table(out).to_pylist()
    test = open_dataset("tiny", data_dir).sequences("test")
    by_user = {}
    for row in rows:
        by_user.setdefault(row["user"], []).append(row)
    assert list(by_user) == test.users
    for user, start, end in zip(test.users, test.row_splits[:-1], test.row_splits[1:], strict=True):
        history = [f"I{item + 1}" for item in test.items[start:end]]
        expected = recommender.recommend(history, 4)
        assert [row["rank"] for row in by_user[user]] == [1, 2, 3, 4]
        assert [row["id"] for row in by_user[user]] == [item.id for item in expected]
        assert [row["raw_id"] for row in by_user[user]] == [item.raw_id for item in expected]
        np.testing.assert_allclose(
            [row["probability"] for row in by_user[user]],
            [item.score for item in expected],
            atol=1e-5,
        )


def test_a_log_of_histories_and_one_of_exclusions(trained, recommender, tmp_path, capsys):
    raw = recommender.dataset.catalogue.raw_ids
    lines = ["who,what,when", f"eve,{raw[4]},2", f"eve,{raw[2]},1", "eve,gone,3"]
    lines += [f"adam,{raw[9]},1", "nobody,gone,1"]
    (tmp_path / "log.csv").write_text("\n".join(lines))
    lines_of_no = ["who,what,when", f"eve,{raw[7]},1", f"adam,{raw[8]},1", f"stranger,{raw[1]},1"]
    (tmp_path / "no.csv").write_text("\n".join(lines_of_no))
    (tmp_path / "only").write_text("\n".join(f"I{n}" for n in range(1, 21)))
    out = tmp_path / "f.parquet"
    words = ["recommend", "--model_dir", trained[0].model_dir, "--out", str(out), "--k", "20"]
    words += ["--histories", str(tmp_path / "log.csv"), "--exclude", str(tmp_path / "no.csv")]
    words += [
        "--user_column",
        "who",
        "--item_column",
        "what",
        "--time_column",
        "when",
        "--only",
        str(tmp_path / "only"),
    ]
    assert cli.main(words) == 0
    said = capsys.readouterr().err
    assert "1 of 4 items are not in the catalogue: left out" in said
    assert "1 of 3 users have no known item: left out" in said
    assert "of 3 users and 3 items, 1 users and 0 items are unknown" in said
    rows = pq.read_table(out).to_pylist()
    only = [f"I{n}" for n in range(1, 21)]
    for user, history, excluded in (("eve", ["I3", "I5"], "I8"), ("adam", ["I10"], "I9")):
        expected = recommender.recommend(history, 20, only, exclude=[excluded])
        assert [row["id"] for row in rows if row["user"] == user] == [it.id for it in expected]


def test_the_histories_of_a_dataset_are_whole(data_dir):
    test = open_dataset("tiny", data_dir).sequences("test")
    found = histories_of_dataset(open_dataset("tiny", data_dir))
    assert found.users == test.users
    np.testing.assert_array_equal(found.items, test.items)
    np.testing.assert_array_equal(found.row_splits, test.row_splits)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--all"], "need --out FILE"),
        (["--history", "I3", "--out", "x.parquet"], "--out goes with --all or --histories"),
        (["--jsonl", "--exclude", "x.csv"], "--exclude goes with --all or --histories"),
    ],
)
def test_flags_that_do_not_go_together(words, told, capsys):
    assert cli.main(["recommend", "--model_dir", "unread", *words]) == 2
    assert told in capsys.readouterr().err


def test_json_lines_take_exclusions(trained, recommender, monkeypatch, capsys):
    line = json.dumps({"history": ["I3"], "k": 2, "exclude": ["I5"], "only": ["I5", "I9"]})
    monkeypatch.setattr("sys.stdin", io.StringIO(line))
    assert cli.main(["recommend", "--model_dir", trained[0].model_dir, "--jsonl"]) == 0
    assert [item["id"] for item in json.loads(capsys.readouterr().out)["items"]] == ["I9"]


def test_readme_s_lines_of_python(trained, capsys):
    readme = pathlib.Path(__file__).resolve().parents[2] / "README.md"
    code = readme.read_text().partition("```python\n")[2].partition("```")[0]
    assert '"runs/shop"' in code
    scope = {}
    exec(code.replace('"runs/shop"', repr(trained[0].model_dir)), scope)
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert [len(items) for items in scope["several"]] == [5, 5]
