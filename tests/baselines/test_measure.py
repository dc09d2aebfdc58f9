"""Systems on a demo corpus: one file that grows, the same figures as elsewhere, ranks by user."""

import json
import re

import gin
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import seqio

import tasks
from recalign import cli, metrics
from recalign.baselines import environments, item_to_item, measure, process
from recalign.baselines.drivers.exchange import Answer, Parts
from recalign.baselines.outcomes import Outcome
from recalign.baselines.question import item_features, question_of
from recalign.baselines.references import examples_of, references
from recalign.baselines.systems import SYSTEMS
from recalign.data import integrity
from recalign.data.catalogue import SCHEMA, Catalogue
from recalign.data.synthetic import CorpusConfig, prepare_demo
from recalign.errors import UserError
from recalign.report.baselines import read_baselines
from recalign.report.comparison import format_baselines
from tests.baselines.drivers.test_exchange import question_of as question_of_three
from tests.tracing import traced_once

NAME = "measured_corpus"
KINDS = ("retrieval", "ranking", "rating")
USERS = 300


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A dataset and its tasks by kind."""
    data_dir = tmp_path_factory.mktemp("data")
    dataset = prepare_demo(data_dir, 3, name=NAME, config=CorpusConfig(users=USERS))
    seqio.set_tfds_data_dir_override(str(data_dir))
    tasks.ensure_registered(f"ut_{NAME}", str(data_dir))
    gin.bind_parameter("TaskSettings.candidate_pool", 10)
    with traced_once({}):
        yield dataset, {kind: seqio.TaskRegistry.get(f"{kind}_{NAME}") for kind in KINDS}
    gin.clear_config()
    seqio.set_tfds_data_dir_override(None)


def run(corpus, models, out, **options):
    """Measures; returns the results and what was said."""
    said = []
    results = measure.measure(
        *(corpus[0], models, corpus[1], out),
        environments_directory=out.parent / "environments",
        say=said.append,
        **options,
    )
    return results, said


def test_untrained_systems_are_those_of_every_results_json(corpus, tmp_path):
    models = ["popularity", "optimum", "graph"]
    results, said = run(corpus, models, tmp_path / "results.json")
    dataset, by_kind = corpus
    assert results["references"] == references(
        dataset,
        {task.name: (kind, examples_of(task, "test")) for kind, task in by_kind.items()},
        "test",
    )
    assert (
        results["references"] == json.loads((tmp_path / "results.json").read_text())["references"]
    )
    settings = results["systems"]["graph"]["settings"]
    assert set(item_to_item.RULES["graph"].start) < set(settings)
    best = f"validation NDCG@10 {settings['validation_ndcg@10']:.4f}"
    assert any(line.startswith("  decay ") and line.endswith(best) for line in said)


def test_the_file_grows_and_what_is_there_stays(corpus, tmp_path):
    out = tmp_path / "results.json"
    first, _ = run(corpus, ["history"], out)
    second, said = run(corpus, ["history", "popularity"], out)
    assert list(second["references"]) == list(second["systems"]) == ["history", "popularity"]
    assert second["systems"]["history"] == first["systems"]["history"]
    assert "history: measured already" in said[0]
    assert {key: second[key] for key in ("dataset", "mixture", "checkpoint_step", "split")} == {
        "dataset": NAME,
        "mixture": None,
        "checkpoint_step": None,
        "split": "test",
    }
    assert second["engine"] == "baselines" and second["tasks"] == {}
    (tmp_path / "ranks" / f"history-rating_{NAME}.parquet").unlink()
    _, said = run(corpus, ["history", "popularity"], out)
    assert [line.split(":")[0] for line in said if "measured already" in line] == ["popularity"]
    _, said = run(corpus, ["history"], out, force=True)
    assert not any("measured already" in line for line in said)


def test_damaged_files_are_told_or_measured_again(corpus, tmp_path):
    """A bit of ranks may make other ranks; of results.json another figure."""
    out, name = tmp_path / "results.json", f"popularity-retrieval_{NAME}.parquet"
    run(corpus, ["popularity"], out)
    whole = (tmp_path / "ranks" / name).read_bytes()
    damaged = whole[:40] + bytes([whole[40] ^ 4]) + whole[41:]
    (tmp_path / "ranks" / name).write_bytes(damaged)
    with pytest.raises(UserError, match=rf"{name}: damaged: .* measure again"):
        read_baselines(tmp_path)
    _, said = run(corpus, ["popularity"], out)
    assert not any("measured already" in line for line in said)
    assert (tmp_path / "ranks" / name).read_bytes() == whole
    assert read_baselines(tmp_path).gaps == ()
    out.write_text(out.read_text().replace('"hr@5": 0.', '"hr@5": 0.1'))
    with pytest.raises(
        UserError, match=r"results\.json: damaged: not as it was written: remove it"
    ):
        run(corpus, ["popularity"], out)
    with pytest.raises(UserError, match=r"results\.json: damaged"):
        read_baselines(tmp_path)


def test_figures_can_be_had_from_the_ranks(corpus, tmp_path):
    results, _ = run(corpus, ["popularity"], tmp_path / "results.json")
    found = results["references"]["popularity"]
    for kind in KINDS:
        table = pq.read_table(tmp_path / "ranks" / f"popularity-{kind}_{NAME}.parquet")
        assert table["row"].to_pylist() == list(range(USERS))
        if kind == "rating":
            assert table.schema.names == ["row", "score", "label"]
            expected = metrics.auc_roc(table["score"].to_numpy(), table["label"].to_numpy())
            assert found[f"rating_{NAME}"]["auc_roc"] == expected
        else:
            assert table.schema.names == ["row", "rank"]
            assert table.schema.field("rank").type == "int32"
            expected = np.mean(table["rank"].to_numpy() < 5)
            assert found[f"{kind}_{NAME}"]["hr@5"] == expected


def test_history_counts_likes_of_the_training_part(corpus, tmp_path):
    dataset, _ = corpus
    run(corpus, ["history"], tmp_path / "results.json")
    scores = pq.read_table(tmp_path / "ranks" / f"history-rating_{NAME}.parquet")["score"]
    train = dataset.sequences("train")
    for row in (0, 7, USERS - 1):
        ratings = train.ratings[train.row_splits[row] : train.row_splits[row + 1]]
        assert scores[row].as_py() == pytest.approx(np.mean(ratings > 3))


def test_history_is_a_users_share_of_likes():
    question = question_of_three(
        train=Parts(np.array([0, 1, 2, 3, 0, 1], np.int32), np.array([0, 4, 5, 6])),
        train_likes=np.array([1, 1, 0, 1, 0, 1], np.int8),
        test_users=np.array([2, 0, 1, 0]),
    )
    assert measure.history_scores(question).tolist() == [1.0, 0.75, 0.0, 0.75]


def test_seen_items_left_out(corpus, tmp_path):
    """The ten items that a user has not had and that were bought most often, counted by hand."""
    dataset, _ = corpus
    results, _ = run(corpus, ["popularity"], tmp_path / "results.json", leave_out_seen=True)
    order = np.argsort(-dataset.catalogue.train_counts, kind="stable")
    test = dataset.sequences("test")
    hits = []
    for row in range(USERS):
        *seen, target = test.items[test.row_splits[row] : test.row_splits[row + 1]].tolist()
        hits.append(target in [item for item in order if item not in seen][:10])
    found = results["references"]["popularity"][f"retrieval_{NAME}"]["hr@10"]
    assert found == pytest.approx(np.mean(hits))
    assert "left out" in format_baselines(results)
    with pytest.raises(UserError, match="left out: they do not compare with seen items left in"):
        run(corpus, ["history"], tmp_path / "results.json")


def test_a_library_is_asked_over_the_same_examples(corpus, tmp_path, monkeypatch):
    """A stand-in answers with the popularity that it counts from the question: as ours."""
    dataset, by_kind = corpus
    asked = []

    def ask(question, command, say):
        asked.append(question)
        counts = np.bincount(question.train.items, minlength=question.num_items)
        ranks = (counts[None] > counts[question.test_items][:, None]).sum(axis=1)
        equal = counts[None] == counts[question.test_items][:, None]
        lower = np.arange(question.num_items)[None] < question.test_items[:, None]
        about = {"version": "1.2", "epochs": 5}
        scores = counts[question.pools].astype(float)
        return Answer(ranks + (equal & lower).sum(axis=1), scores, np.zeros(0), about)

    monkeypatch.setattr(process, "ask", ask)
    monkeypatch.setattr(environments, "python_of", lambda library, directory, say: directory)
    out = tmp_path / "results.json"
    results, _ = run(corpus, ["sasrec", "popularity"], out, epochs=7, seed=2)
    assert results["references"]["sasrec"] == {
        task: found
        for task, found in results["references"]["popularity"].items()
        if not task.startswith("rating")
    }
    system = results["systems"]["sasrec"]
    assert (system["library"], system["version"]) == ("RecBole", "1.2")
    assert system["settings"]["epochs"] == 5 and system["settings"]["most_epochs"] == 7
    (question,) = asked
    test = dataset.sequences("test")
    for row in (0, USERS - 1):
        whole = test.items[test.row_splits[row] : test.row_splits[row + 1]]
        np.testing.assert_array_equal(question.train.of(row), whole[:-2])
        np.testing.assert_array_equal(question.seen.of(row), whole[:-1])
        assert question.test_items[row] == whole[-1]
    assert set(by_kind) == set(KINDS)


def test_likes_are_ratings_above_the_threshold(corpus):
    dataset, by_kind = corpus
    examples = {"rating": examples_of(by_kind["rating"], "test")}
    question = question_of(
        dataset, SYSTEMS["dmf"], examples, seed=0, epochs=None, leave_out_seen=False
    )
    train = dataset.sequences("train")
    assert question.rates
    np.testing.assert_array_equal(question.train_likes, train.ratings > 3)
    assert len(question.pools) == 0 and len(question.valid_likes) == len(question.valid_users)


def test_features_are_categories_and_brands_or_else_words_of_titles():
    def features_of(brands, categories):
        columns = {name: ["", ""] for name in ("id", "raw_id", "price", "description")}
        columns |= {"title": ["Red kite", "red robot"], "train_count": [1, 1]}
        table = pa.table({**columns, "brand": brands, "categories": categories}, schema=SCHEMA)
        features = item_features(Catalogue.of_table(table))
        return [set(features.of(item).tolist()) for item in (0, 1)]

    first, second = features_of(["", ""], [[], []])
    assert (len(first), len(second), len(first & second)) == (2, 2, 1)
    first, second = features_of(["acme", ""], [["toys", "kites"], ["toys"]])
    assert (len(first), len(second), len(first & second)) == (3, 1, 1)


def test_systems_of_another_preparation_do_not_compare(corpus, tmp_path):
    out = tmp_path / "results.json"
    results, _ = run(corpus, ["history"], out)
    results["systems"]["history"]["settings"]["dataset_fingerprint"] = "another"
    results = integrity.sealed(results)
    out.write_text(json.dumps(results))
    with pytest.raises(UserError, match="another preparation of measured_corpus"):
        run(corpus, ["popularity"], out)
    assert json.loads(out.read_text()) == results


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not JSON"),
        ("[]", "no results of `recalign baselines`"),
        ('{"dataset": "x", "references": {}, "systems": {}}', "holds x's systems"),
    ],
)
def test_a_file_of_something_else_is_left_alone(corpus, tmp_path, text, told):
    out = tmp_path / "results.json"
    out.write_text(text)
    with pytest.raises(UserError, match=told):
        run(corpus, ["popularity"], out)
    assert out.read_text() == text


def test_the_command(corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data_dir = str(corpus[0].directory.parent.parent)
    everywhere = ["baselines", NAME, "--data_dir", data_dir]
    command = [*everywhere, "--models"]
    assert cli.main([*command, "populrity"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("recalign: error: unknown model 'populrity': known are popularity, ")
    assert not list(tmp_path.iterdir())
    assert cli.main([*command, "popularity,history"]) == 0
    assert re.search(r"\n  history +0\.\d{4} ", capsys.readouterr().out)
    assert (tmp_path / "runs" / f"baselines_{NAME}" / "results.json").exists()
    assert cli.main([*everywhere, "--leave_out_seen", "--out", "untrained/results.json"]) == 0
    measured = json.loads((tmp_path / "untrained" / "results.json").read_text())["systems"]
    assert list(measured) == ["popularity", "optimum", "graph", "knn", "history"]


def test_a_metric_without_a_value_is_null(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(Outcome, "metrics", lambda outcome: {"auc_roc": float("nan")})
    results, _ = run(corpus, ["history"], tmp_path / "results.json")
    assert json.loads((tmp_path / "results.json").read_text())["references"]["history"] == {
        f"rating_{NAME}": {"auc_roc": None}
    }
    assert "—" in format_baselines(results)
