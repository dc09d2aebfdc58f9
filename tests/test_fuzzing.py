"""Every reader of a file, on what may stand in it: a value, or one line that says what is wrong."""

import json
import pathlib
import shutil

import hypothesis
import pytest
from etils import epath
from hypothesis import strategies as st

from recalign.data import integrity, prepared
from recalign.data.catalogue import read_catalogue
from recalign.data.vocabulary import read_pieces
from recalign.errors import UserError
from recalign.report.run import read_run
from recalign.trainer import provenance
from recalign.trainer.experiment import load_experiment
from recalign.trainer.predictions import PredictionFile
from recalign.trainer.run_config import settings_of, text_of
from recalign.trainer.serving import parse
from tests.corpus import vocabulary_file
from tests.trainer.conftest import FILES, bindings

pytestmark = pytest.mark.slow
MANY = hypothesis.settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
_PIECES = [
    b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"9" * 400, b"0x" + b"f" * 5000, b"1e999", b"NaN",
    b"[" * 3000, b'{"a":' * 3000, b"null", b"-1", b'"', b"'", b"\n", b"%", b"@os.system()",
    b"import os\n", b"include 'x'\n", b"True", b"\\ud800", b"{}", b"[]",
]  # fmt: skip


@st.composite
def changed(draw, content: bytes) -> bytes:
    """The content with a few bytes turned, cut, repeated, or with something hostile among them."""
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(content)))
        end = min(len(content), place + draw(st.integers(0, 40)))
        match draw(st.sampled_from(["turn", "cut", "repeat", "insert", "end", "replace"])):
            case "turn" if place < len(content):
                byte = content[place] ^ (1 << draw(st.integers(0, 7)))
                content = content[:place] + bytes([byte]) + content[place + 1 :]
            case "cut":
                content = content[:place] + content[end:]
            case "repeat":
                content = content[:end] + content[place:]
            case "insert":
                content = content[:place] + draw(st.sampled_from(_PIECES)) + content[place:]
            case "replace":
                content = content[:place] + draw(st.sampled_from(_PIECES)) + content[end:]
            case "end":
                content = content[:place]
    return content


def holds_or_says(read) -> None:
    """Runs it; whatever it refuses it refuses in one line."""
    try:
        read()
    except UserError as error:
        assert str(error) and "\n" not in str(error)


@pytest.fixture(scope="module")
def dataset(data_dir, tmp_path_factory):
    """A dataset's folder to be changed, and the content of its files."""
    folder = tmp_path_factory.mktemp("fuzzed")
    shutil.copytree(pathlib.Path(data_dir) / "tiny", folder / "tiny")
    return folder


@MANY
@hypothesis.given(data=st.data(), seal=st.booleans())
def test_what_a_dataset_says_of_itself(dataset, data_dir, data, seal):
    path = dataset / "tiny" / "1.0.0" / "dataset.json"
    whole = (pathlib.Path(data_dir) / "tiny" / "1.0.0" / "dataset.json").read_bytes()
    content = data.draw(changed(whole))
    if seal:  # by somebody who knows how
        try:
            info = json.loads(content)
            content = integrity.sealed_json(info).encode() if isinstance(info, dict) else content
        except (ValueError, RecursionError):
            pass
    path.write_bytes(content)

    def read():
        opened = prepared.open_dataset("tiny", dataset)
        assert opened.catalogue and opened.sequences("validation") and opened.fingerprint
        assert opened.item_tokens is None or opened.item_tokens.count >= 0

    holds_or_says(read)


@MANY
@hypothesis.given(data=st.data())
def test_a_catalogue(data_dir, data):
    whole = (pathlib.Path(data_dir) / "tiny" / "1.0.0" / "items.parquet").read_bytes()
    content = data.draw(changed(whole))
    holds_or_says(lambda: read_catalogue(content, "items.parquet"))


@MANY
@hypothesis.given(data=st.data())
def test_a_vocabulary(data):
    whole = pathlib.Path(vocabulary_file()).read_bytes()
    holds_or_says(lambda: read_pieces(data.draw(changed(whole)), "v.model"))


@MANY
@hypothesis.given(data=st.data())
def test_a_config(data):
    whole = text_of(load_experiment(FILES, bindings(MODEL_DIR="x"))).encode()
    text = data.draw(changed(whole)).decode(errors="replace")
    holds_or_says(lambda: settings_of(text, "config.gin"))


@MANY
@hypothesis.given(data=st.data())
def test_a_request(data):
    whole = b'{"history": ["I3", 17], "k": 5, "only": ["I5", "I9"], "user": {"name": 7}}'
    text = data.draw(changed(whole)).decode(errors="replace")
    holds_or_says(lambda: parse(text, 10, None))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The files of a run that are read back, without its checkpoints."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.gin").write_text(text_of(load_experiment(FILES, bindings(MODEL_DIR="x"))))
    origin = {"datasets": {"tiny": "0" * 64}, "settings": {"history_length": 3}}
    provenance.write(epath.Path(folder), origin, {"step": 0})
    results = {
        "dataset": "tiny", "mixture": "ut_tiny", "checkpoint_step": 4, "split": "test",
        "engine": "recalign", "tasks": {"retrieval_tiny": {"hr@10": 0.5, "num_examples": 2.0}},
        "references": {"popularity": {"retrieval_tiny": {"hr@10": 0.25}}},
        "versions": {"jax": "1"}, "device": {"kind": "cpu", "count": 1},
    }  # fmt: skip
    (folder / "results.json").write_text(integrity.sealed_json(results))
    lines = [{"step": n, "time": 1.5, "kind": "train", "loss": 2.0 / n} for n in range(1, 6)]
    (folder / "metrics.jsonl").write_text(
        "".join(f"{json.dumps(integrity.sealed(it, 16))}\n" for it in lines)
    )
    file = PredictionFile(epath.Path(folder), "retrieval_tiny-test", {"a": 1})
    file.append(
        [
            {"index": n, "row": n, "prompt": "I1, I2?", "target": "I2", "beams": ["I2", "I3"],
             "log_probs": [-0.5, -1.5], "scores": [-0.5, -1.5], "tokens": [[3, 4], [5]]}
            for n in range(2)
        ]
    )  # fmt: skip
    file.finish()
    return folder, {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@MANY
@hypothesis.given(data=st.data(), seal=st.booleans())
def test_a_run(run, data, seal):
    folder, files = run
    for name, content in files.items():
        (folder / name).write_bytes(content)
    name = data.draw(st.sampled_from(sorted(files)))
    content = data.draw(changed(files[name]))
    if seal and name.endswith(".json"):
        try:
            value = json.loads(content)
            content = integrity.sealed_json(value).encode() if isinstance(value, dict) else content
        except (ValueError, RecursionError):
            pass
    (folder / name).write_bytes(content)
    holds_or_says(lambda: read_run(epath.Path(folder)))
    holds_or_says(lambda: provenance.read(epath.Path(folder)))
    settings = {"a": 1}
    records = PredictionFile(epath.Path(folder), "retrieval_tiny-test", settings).records
    assert set(records) <= {0, 1}
