"""A folder whose files are not of one run: no figure of it is taken for the run's."""

import json

import pytest

from recalign.data import integrity
from recalign.errors import UserError
from recalign.report.content import read
from recalign.report.run import read_run

ORIGIN = {
    "mixture": "ut_shop",
    "datasets": {"shop": "a" * 64},
    "settings": {"history_length": 3, "rates": {}},
    "model": {"emb_dim": 64},
    "training": {"batch_size": 4, "seed": 0, "task_feature_lengths": {"inputs": 96, "targets": 24}},
    "versions": {"jax": "9.9.9"},
}
PARAMS = "2:" + "0" * 16


@pytest.fixture
def agreeing(run_directory, shop):
    """A run whose files say what they were made from, and a way to change what one says."""
    origin = {**ORIGIN, "datasets": {"shop": shop.dataset.fingerprint}}
    measured = {
        **{k: v for k, v in origin.items() if k != "training"},
        "params": PARAMS,
    }

    def say(name, **changes):
        path = run_directory / name
        made_from = {**(origin if name == "run.json" else measured), **changes}
        content = json.loads(path.read_text()) if path.exists() else {"changes": []}
        path.write_text(integrity.sealed_json({**content, "made_from": made_from}))

    info = run_directory / "checkpoints" / "40" / "info"
    info.mkdir(parents=True)
    (info / "metadata").write_text(json.dumps({"fingerprints": {"params": PARAMS}}))
    for name in ("run.json", "results.json", "predictions/retrieval_shop-test.settings.json"):
        say(name)
    say.run = run_directory
    return say


def test_files_of_one_run_agree(agreeing):
    run = read_run(agreeing.run)
    assert run.gaps == () and run.configuration and len(run.predictions) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"datasets": {"shop": "b" * 64}}, r"datasets/shop was \w{12}… and is b{12}…"),
        ({"model": {"emb_dim": 32}}, "model/emb_dim was 64 and is 32"),
    ],
)
def test_figures_of_another_dataset_or_model_are_refused(agreeing, change, message):
    agreeing("results.json", **change)
    with pytest.raises(UserError, match=rf"results\.json: not of .*{message}: evaluate again"):
        read_run(agreeing.run)


def test_figures_of_other_weights_are_refused(agreeing):
    """Another seed's results.json, or one from before the run was trained anew."""
    agreeing("results.json", params="2:" + "1" * 16)
    with pytest.raises(UserError, match="of other weights than checkpoints/40: .* evaluate again"):
        read_run(agreeing.run)
    (agreeing.run / "checkpoints" / "40" / "info" / "metadata").unlink()  # no longer kept
    assert read_run(agreeing.run).results


def test_other_settings_of_an_evaluation_are_told(agreeing):
    settings = {"history_length": 2, "rates": {}}
    agreeing("results.json", settings=settings)
    agreeing("predictions/retrieval_shop-test.settings.json", settings=settings)
    (gap,) = read_run(agreeing.run).gaps
    assert gap == (
        "Evaluated otherwise than the run was trained: settings/history_length was 3 and is 2."
    )


def test_predictions_of_another_evaluation_are_left_out(agreeing):
    agreeing("predictions/retrieval_shop-test.settings.json", params="2:" + "1" * 16)
    run = read_run(agreeing.run)
    assert sorted(run.predictions) == ["ranking_shop", "rating_shop"]
    (gap,) = run.gaps
    assert "retrieval_shop-test.jsonl are of another evaluation than results.json (params" in gap


def test_predictions_whose_settings_are_damaged_are_left_out(agreeing):
    path = agreeing.run / "predictions" / "retrieval_shop-test.settings.json"
    path.write_text(path.read_text().replace("ut_shop", "ut_shep"))
    run = read_run(agreeing.run)
    assert "retrieval_shop" not in run.predictions
    assert "retrieval_shop-test.settings.json is damaged" in run.gaps[0]


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ("BATCH_SIZE = 4", "BATCH_SIZE = 8", "BATCH_SIZE is 8 there, 4 in run.json"),
        ("RANDOM_SEED = 0", "RANDOM_SEED = 1", "RANDOM_SEED is 1 there, 0 in run.json"),
        ("'inputs': 96", "'inputs': 95", "TASK_FEATURE_LENGTHS is"),
        ("'ut_shop'", "'reat_shop'", "MIXTURE_OR_TASK_NAME is 'reat_shop' there, 'ut_shop' in"),
    ],
)
def test_settings_of_another_run_are_not_shown(agreeing, before, now, told):
    path = agreeing.run / "config.gin"
    path.write_text(path.read_text().replace(before, now))
    run = read_run(agreeing.run)
    assert run.configuration is None
    (gap,) = run.gaps
    assert gap.startswith(f"config.gin is not this run's: {told}")


def test_a_damaged_run_file_is_a_gap(agreeing):
    path = agreeing.run / "run.json"
    path.write_text(path.read_text().replace("64", "65"))
    (gap,) = read_run(agreeing.run).gaps
    assert "run.json: damaged: not as it was written: nothing here can be compared" in gap


def test_a_dataset_that_was_prepared_anew_is_named_with_both_values(agreeing, shop):
    agreeing("run.json", datasets={"shop": "c" * 64})
    agreeing("results.json", datasets={"shop": "c" * 64})
    gaps = [gap for _, gap in read([agreeing.run], shop.data_dir).gaps]
    assert any(
        f"datasets/shop was cccccccccccc… and is {shop.dataset.fingerprint[:12]}…" in gap
        for gap in gaps
    )
