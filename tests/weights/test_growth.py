"""Rows for item tokens: by hand, in every format, and from the command line."""

import dataclasses
import re

import numpy as np
import pytest

from recalign import cli
from recalign.data import integrity
from recalign.data.prepared import open_dataset
from recalign.errors import UserError
from recalign.weights import NewRows, convert, load_params
from tests.corpus import make_corpus
from tests.weights.comparison import CONFIG, STEP

pytestmark = pytest.mark.usefixtures("quick_compilation")

# Of 160 rows 150 are older tokens; three items stand for two texts and for none.
FIRST, TEXTS = 150, [[3, 5, 5], [7], []]
ROWS = NewRows(FIRST, 256, [np.array(text, np.int32) for text in TEXTS])
GROWN = dataclasses.replace(CONFIG, vocab_size=256)


def tables(params) -> tuple[np.ndarray, np.ndarray]:
    """The embedding and the output layer, a row a token."""
    return (
        np.asarray(params["token_embedder"]["embedding"]),
        np.asarray(params["decoder"]["logits_dense"]["kernel"]).T,
    )


@pytest.mark.parametrize("name", ["own", "t5x", "t5x_orbax", "hugging_face"])
def test_a_new_row_is_the_mean_of_its_texts_rows(own_run, trained_state, tmp_path, name):
    source = str(own_run)
    if name != "own":
        there = convert(source, str(tmp_path / "there"), destination_format=name)
        source = str(there.destination)
    done = convert(source, str(tmp_path / "grown"), destination_format="own", new_rows=ROWS)
    assert not done.optimizer
    params, step = load_params(str(tmp_path / "grown"), GROWN)
    assert step == (0 if name == "hugging_face" else STEP)
    for old, new in zip(tables(trained_state.params), tables(params), strict=True):
        assert new.shape == (256, CONFIG.emb_dim)
        np.testing.assert_array_equal(new[:FIRST], old[:FIRST])
        np.testing.assert_allclose(new[150], (old[3] + 2 * old[5]) / 3, rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(new[151], old[7])
        for filler in new[152:]:
            np.testing.assert_allclose(filler, old[:FIRST].mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(
        params["decoder"]["decoder_norm"]["scale"],
        trained_state.params["decoder"]["decoder_norm"]["scale"],
    )


def test_other_formats_are_written_grown_too(own_run, tmp_path):
    there = convert(
        str(own_run), str(tmp_path / f"checkpoint_{STEP}"), destination_format="t5x", new_rows=ROWS
    )
    assert load_params(str(there.destination), GROWN)[1] == STEP


@pytest.mark.parametrize(
    ("first", "message"),
    [(161, r"has 160 rows, the vocabulary 161 tokens"), (32, "items' among them")],
)
def test_weights_of_another_vocabulary_are_refused(own_run, tmp_path, first, message):
    rows = dataclasses.replace(ROWS, first=first)
    with pytest.raises(UserError, match=message):
        convert(str(own_run), str(tmp_path / "x"), destination_format="t5x", new_rows=rows)


def test_a_table_that_is_too_small_says_how_it_grows(own_run):
    with pytest.raises(UserError, match=r"recalign convert --item_tokens DATASET"):
        load_params(str(own_run), GROWN)


def test_a_datasets_item_tokens_by_the_command_line(own_run, tmp_path, capsys):
    spelled = make_corpus("spelled", tmp_path)
    assert grown_by_cli(own_run, tmp_path, "spelled") == 2
    assert "prepare it with --item_tokens" in capsys.readouterr().err

    make_corpus("mine", tmp_path, item_tokens=True)
    assert grown_by_cli(own_run, tmp_path, "mine") == 2
    first = open_dataset("mine", tmp_path).item_tokens.first
    assert f"has 160 rows, the vocabulary {first} tokens" in capsys.readouterr().err
    assert spelled.item_tokens is None


def test_a_run_of_another_vocabulary_gets_no_rows(copied_run, tmp_path, capsys):
    """By the run's own words, before its table is looked at."""
    dataset = make_corpus("mine", tmp_path, item_tokens=True)
    first, base = dataset.item_tokens.first, dataset.info["base_vocabulary"]
    for vocabulary, message in (
        ({"pieces": first, "sha256": base}, "has 160 rows"),
        (
            {"pieces": first, "sha256": "0" * 64},
            f"vocabulary is 000000000000, and .* is {base[:12]}",
        ),
        ({"pieces": 160}, f"vocabulary is 160, and the one that the items of 'mine' .* is {first}"),
    ):
        made_from = {"vocabulary": vocabulary}
        content = integrity.sealed_json({"made_from": made_from, "changes": []})
        (copied_run / "run.json").write_text(content)
        assert grown_by_cli(copied_run, tmp_path, "mine") == 2
        assert re.search(message, capsys.readouterr().err)


def grown_by_cli(own_run, data_dir, name) -> int:
    return cli.main(
        ["convert", str(own_run), str(data_dir / "grown"), "--to", "t5x", "--item_tokens", name,
         "--data_dir", str(data_dir)]
    )  # fmt: skip
