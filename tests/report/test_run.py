import json

import pytest

from recalign.errors import UserError
from recalign.report.run import names_of, read_run


def test_what_a_run_left_behind(run_directory):
    run = read_run(run_directory)
    assert run.gaps == ()
    assert run.results.device == {"kind": "TPU v9", "count": 4}
    assert sorted(run.predictions) == ["ranking_shop", "rating_shop", "retrieval_shop"]
    assert [record.step for record in run.records] == [10, 20, 30, 40, 40]
    assert run.records[3].values["tasks/retrieval_shop/hr@10"] == 0.5
    assert run.configuration.seed == 0


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("results.json", "No results.json"),
        ("metrics.jsonl", "No metrics.jsonl"),
        ("config.gin", "No config.gin"),
        ("predictions/rating_shop-test.jsonl", "rating_shop has no intervals"),
    ],
)
def test_a_missing_piece_is_named(run_directory, missing, sentence):
    (run_directory / missing).unlink()
    assert [gap for gap in read_run(run_directory).gaps if sentence in gap]


def test_a_line_that_a_killed_run_left_unfinished_is_named(run_directory):
    with (run_directory / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"step": 50, "lo')
    run = read_run(run_directory)
    assert run.gaps == ("metrics.jsonl, line 6 is damaged and was left out.",)
    assert len(run.records) == 5


@pytest.mark.parametrize("name", ["metrics.jsonl", "predictions/rating_shop-test.jsonl"])
def test_a_damaged_line_behind_a_blank_one_has_the_number_that_an_editor_shows(run_directory, name):
    path = run_directory / name
    first, *others = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([first, b"\n", b" \n", b'{"a": 1\n', *others]))
    gaps = read_run(run_directory).gaps
    assert f"{path.name}, line 4 is damaged and was left out." in gaps


def test_a_step_that_was_logged_again_counts_once(run_directory):
    with (run_directory / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"step": 20, "time": 9.0, "kind": "train", "loss": 0.25}\n')
        metrics.write('{"step": 30, "time": 9.5, "kind": "train", "loss": NaN}\n')
    losses = [r.values.get("loss") for r in read_run(run_directory).records if r.kind == "train"]
    assert losses == [5.0, 0.25, 5.0 / 3, 1.25]


def test_a_metric_that_could_not_be_computed_is_no_number(run_directory):
    results = json.loads((run_directory / "results.json").read_text())
    results["tasks"]["rating_shop"]["auc_roc"] = None
    (run_directory / "results.json").write_text(json.dumps(results))
    assert str(read_run(run_directory).results.tasks["rating_shop"]["auc_roc"]) == "nan"


def test_short_names_tell_directories_apart():
    directories = ["runs/seed0/ut", "runs/seed1/ut", "runs/reat", "ut"]
    assert names_of(directories) == ["seed0/ut", "seed1/ut", "reat", "ut"]
    assert names_of(["gs://bucket/a/ut", "/b/ut"]) == ["a/ut", "b/ut"]


@pytest.mark.parametrize(
    "line",
    ['{"row": 3}', '{"row": null, "beams": []}', '{"row": 9, "log_probs": [1e9]}', '{"a": 1'],
)
def test_damaged_predictions_are_named(run_directory, line):
    with (run_directory / "predictions" / "rating_shop-test.jsonl").open("a") as file:
        file.write(line + "\n")
    run = read_run(run_directory)
    (gap,) = run.gaps
    assert "rating_shop" in gap and "damaged" in gap


@pytest.mark.parametrize(
    ("name", "value"), [("versions", ["jax"]), ("device", "TPU"), ("checkpoint_step", "last")]
)
def test_what_has_not_its_form_is_refused(run_directory, name, value):
    results = json.loads((run_directory / "results.json").read_text())
    (run_directory / "results.json").write_text(json.dumps({**results, name: value}))
    with pytest.raises(UserError, match=f'results.json: "{name}" is no'):
        read_run(run_directory)


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such directory"):
        read_run(tmp_path / "absent")
    with pytest.raises(UserError, match="not a run"):
        read_run(tmp_path)
    (tmp_path / "results.json").write_text('{"tasks": ')
    with pytest.raises(UserError, match="results.json: not JSON"):
        read_run(tmp_path)
