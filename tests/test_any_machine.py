"""A machine without network, without T5's vocabulary, without UTF-8: what works there."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import sentencepiece

from recalign import cli
from recalign.data.from_files import prepare_from_files
from recalign.data.vocabulary import t5_warning
from recalign.errors import UserError
from tests.commands import away_from_any_network

ROOT = pathlib.Path(__file__).resolve().parents[1]
TITLES = ["Käsekuchen", "Rote Grütze", "Crème brûlée", "Zimtschnecke", "Möhrenkuchen"]


@pytest.fixture
def shop(tmp_path):
    """A log of 12 users over 130 items with titles that ASCII does not hold."""
    lines = [f"u{u},{10 * u + n},{1 + n % 5},{10**9 + n}" for u in range(12) for n in range(20)]
    (tmp_path / "log.csv").write_text("\n".join(["user,item,rating,time", *lines]))
    items = [f"{n},{TITLES[n % 5]} Nr. {n}" for n in range(130)]
    (tmp_path / "items.csv").write_text("\n".join(["item,title", *items]), encoding="utf-8")
    return tmp_path


LOG = ("--interactions", "log.csv", "--items", "items.csv", "--k_core", "0")

# What `recalign` runs, for two commands one after the other.
_BOTH = """
import json, sys
from recalign import cli
main, commands = cli.main, json.loads(sys.argv[1])
cli.main = lambda: max(map(main, commands))
cli.run()
"""


def test_any_locale_prints_and_reads_titles(shop):
    commands = [
        ("prepare", "shop", *LOG, "--vocabulary", "own"),
        ("show", "retrieval_shop", "--n", "20"),
    ]
    outcome = subprocess.run(
        [sys.executable, "-c", _BOTH, json.dumps(commands)],
        cwd=shop,
        env={
            **os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu",
            "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0",
        },
        capture_output=True,
        timeout=600,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr.decode()
    assert "Käsekuchen" in outcome.stdout.decode("utf-8")


def test_without_a_vocabulary_prepare_says_so_and_baselines_do_without(shop, capfd):
    with away_from_any_network(shop):
        assert cli.main(["prepare", "bakery", *LOG]) == 0
        said = capfd.readouterr().err
        assert cli.main(["baselines", "bakery", "--models", "popularity"]) == 0
    assert "warning: T5's vocabulary gs://" in said
    assert "--vocabulary own" in said
    results = json.loads((shop / "runs/baselines_bakery/results.json").read_text())
    assert results["references"]["popularity"]["retrieval_bakery"]["num_examples"] == 12


def test_a_vocabulary_of_the_catalogues_own(shop):
    dataset, notes = prepare_from_files(
        "shop",
        data_dir=shop / "data",
        interactions=shop / "log.csv",
        items=shop / "items.csv",
        k_core=0,
        vocabulary="own",
    )
    model = dataset.sentencepiece_model.read_bytes()
    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=model)
    for title in dataset.catalogue.titles:
        assert tokenizer.unk_id() not in tokenizer.encode(title)
    # The words of titles and prompts are pieces, and every character of a price is one.
    assert tokenizer.encode("Käsekuchen", out_type=str) == ["▁Käsekuchen"]
    assert len(tokenizer.encode("What would the user buy next?")) <= 9
    assert tokenizer.unk_id() not in tokenizer.encode("$12.99 ~ {x}")
    assert (tokenizer.pad_id(), tokenizer.eos_id(), tokenizer.unk_id()) == (0, 1, 2)
    assert tokenizer.id_to_piece(tokenizer.vocab_size() - 1) == "▁<extra_id_0>"
    assert any("VOCAB_SIZE = " in note for note in notes)


def test_two_vocabularies_are_one_too_many(shop):
    with pytest.raises(UserError, match="--vocabulary own and --sentencepiece_model are two"):
        prepare_from_files(
            "shop",
            data_dir=shop / "data",
            interactions=shop / "log.csv",
            vocabulary="own",
            sentencepiece_model="x.model",
        )


def test_the_warning_is_silent_where_the_vocabulary_is_there(monkeypatch):
    class Answer:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    asked = []
    monkeypatch.setattr(
        "urllib.request.urlopen", lambda request, timeout: asked.append(request) or Answer()
    )
    assert t5_warning() == ""
    assert asked[0].get_method() == "HEAD"
    assert asked[0].full_url.startswith("https://storage.googleapis.com/t5-data/vocabs/")
