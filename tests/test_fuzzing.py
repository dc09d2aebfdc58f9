"""Every reader of a file, on what may stand in it: a value, or one line that says what is wrong."""

import hashlib
import json
import pathlib
import shutil
import tempfile

import hypothesis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from etils import epath
from hypothesis import strategies as st

from recalign import asking
from recalign.data import integrity, origins, prepared
from recalign.data.catalogue import read_catalogue
from recalign.data.leaks import leak_report
from recalign.data.vocabulary import read_pieces
from recalign.errors import UserError
from recalign.model.t5.config import T5Config
from recalign.preprocessors.samples import Recipe
from recalign.report.dataset_tables import ids_table, statistics_text
from recalign.report.run import read_run
from recalign.serve.histories import (
    LogSource,
    exclusions_of_log,
    histories_of_dataset,
    histories_of_log,
)
from recalign.serve.subsets import Subsets, read_subsets
from recalign.trainer import provenance
from recalign.trainer.checkpoints import Checkpoints
from recalign.trainer.experiment import load_experiment
from recalign.trainer.item_index import ItemIndex, read_ids
from recalign.trainer.partitioning import make_mesh
from recalign.trainer.predictions import PredictionFile
from recalign.trainer.run_config import settings_of, text_of
from recalign.trainer.serving import parse
from recalign.trainer.state import new_state, random_params, state_shape
from recalign.weights import own
from recalign.weights.fingerprints import of_arrays
from recalign.wording import Prompt
from tests.corpus import vocabulary_file
from tests.optimizers import make_optimizer
from tests.trainer.conftest import FILES, bindings

pytestmark = pytest.mark.slow
MANY = hypothesis.settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
_OF_ORBAX = {"_METADATA", "_CHECKPOINT_METADATA", "_sharding", "metadata", "metrics", "process_0"}
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


def resealed(content: bytes) -> bytes:
    """With the digest that somebody who knows how would give it; as it is where it is no object."""
    try:
        info = json.loads(content)
        return integrity.sealed_json(info).encode() if isinstance(info, dict) else content
    except (ValueError, RecursionError):
        return content


@MANY
@hypothesis.given(data=st.data(), seal=st.booleans())
def test_what_a_dataset_says_of_itself(dataset, data_dir, data, seal):
    path = dataset / "tiny" / "1.0.0" / "dataset.json"
    whole = (pathlib.Path(data_dir) / "tiny" / "1.0.0" / "dataset.json").read_bytes()
    content = data.draw(changed(whole))
    path.write_bytes(resealed(content) if seal else content)

    def read():
        opened = prepared.open_dataset("tiny", dataset)
        assert opened.catalogue and opened.sequences("validation") and opened.fingerprint
        assert opened.item_tokens is None or opened.item_tokens.count >= 1
        assert statistics_text("tiny", opened, 20)
        assert leak_report(opened) and isinstance(opened.no_ratings(), str | None)
        assert Recipe("tiny", Prompt("{products}", "no"), ()).worded(opened).products
        ids_table([("tiny", opened)])

    holds_or_says(read)


def framed(records: list[bytes]) -> bytes:
    """A TFRecord file of these records, its checksums right."""
    with tempfile.NamedTemporaryFile() as file:
        with tf.io.TFRecordWriter(file.name) as writer:
            for record in records:
                writer.write(record)
        return pathlib.Path(file.name).read_bytes()


@MANY
@hypothesis.given(data=st.data(), seal=st.booleans())
def test_a_shard(dataset, data_dir, data, seal):
    """Damaged, or records that somebody changed who can write digests."""
    own, whole = (pathlib.Path(folder) / "tiny" / "1.0.0" for folder in (dataset, data_dir))
    name = "tiny-test.tfrecord-00000-of-00001"
    (own / "dataset.json").write_bytes((whole / "dataset.json").read_bytes())
    content = (whole / name).read_bytes()
    if not seal:
        found = data.draw(changed(content))
        (own / name).write_bytes(found)
        if found == content:
            return
        prepared._open.cache_clear()  # the same dataset.json: what was read of it stays in memory
        with pytest.raises(UserError, match="damaged") as error:
            prepared.open_dataset("tiny", dataset).sequences("test")
        assert "\n" not in str(error.value)
        return
    records = [it.numpy() for it in tf.data.TFRecordDataset([str(whole / name)])]
    for place in data.draw(st.lists(st.integers(0, len(records) - 1), max_size=3)):
        records[place] = data.draw(changed(records[place]))
    kept = records[: data.draw(st.sampled_from([0, 1, len(records), len(records)]))]
    (own / name).write_bytes(framed(kept))
    info = json.loads((own / "dataset.json").read_text())
    total = sum(int.from_bytes(hashlib.sha256(record).digest()) for record in kept)
    info["shards"]["test"] = [[len(kept), f"{total % 2**256:064x}"]]
    (own / "dataset.json").write_text(integrity.sealed_json(info))
    holds_or_says(lambda: prepared.open_dataset("tiny", dataset).sequences("test"))


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


_LOGS = {
    "log.csv": b"user,item,time\nu1,raw1,5\nu1,raw2,6\nu2,raw3,7\nu2,I4,8\n",
    "log.jsonl": b'{"user": "u1", "item": "raw1", "time": 5}\n{"user": 2, "item": "raw2"}\n',
    "log.txt": b"u1 raw1 raw2\nu2 raw3\n",
    "log.tsv": b"user\titem\nu1\traw1\nu2\traw3\n",
}


@pytest.fixture(scope="module")
def logs(data_dir, tmp_path_factory):
    """Logs of many users by name, those of _LOGS and a Parquet one, and the catalogue's IDs."""
    folder = tmp_path_factory.mktemp("logs")
    table = pa.table({"user": ["u1", "u1", "u2"], "item": ["raw1", "raw2", "raw3"]})
    pq.write_table(table, folder / "log.parquet")
    opened = prepared.open_dataset("tiny", data_dir)
    contents = {**_LOGS, "log.parquet": (folder / "log.parquet").read_bytes()}
    return folder, contents, opened, ItemIndex(opened.catalogue, opened.ids_alike)


@MANY
@hypothesis.given(data=st.data())
def test_histories_and_exclusions(logs, data):
    folder, contents, opened, items = logs
    name = data.draw(st.sampled_from(sorted(contents)))
    path = folder / name
    path.write_bytes(data.draw(changed(contents[name])))
    source = LogSource(path, "sequences" if name == "log.txt" else None)
    of_all = histories_of_dataset(opened)

    def read():
        histories, notices = histories_of_log(source, items, opened)
        assert len(histories) and histories.items.max() < len(opened.catalogue) and notices

    holds_or_says(read)
    holds_or_says(lambda: exclusions_of_log(source, items, of_all))


@MANY
@hypothesis.given(data=st.data())
def test_allowed_ids_and_subsets(logs, data):
    folder, _, _, items = logs
    (folder / "ids").write_bytes(data.draw(changed(b"I3\nI17\n\nraw:raw2\nid:I4\nraw5\n")))
    holds_or_says(lambda: items.subset(read_ids(folder / "ids")))
    (folder / "sets").write_bytes(data.draw(changed(b'{"new": ["I3", 17], "cheap": ["raw5"]}')))
    holds_or_says(
        lambda: Subsets(items, read_subsets(asking._read(epath.Path(folder / "sets")), "sets"))
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The files of a run that are read back, without its checkpoints."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.gin").write_text(text_of(load_experiment(FILES, bindings(MODEL_DIR="x"))))
    origin = {"datasets": {"tiny": "0" * 64}, "settings": {"history_length": 3}}
    provenance.write(epath.Path(folder), origin, {"step": 0}, "of one")
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
    holds_or_says(lambda: origins.read(epath.Path(folder)))
    settings = {"a": 1}
    records = PredictionFile(epath.Path(folder), "retrieval_tiny-test", settings).records
    assert set(records) <= {0, 1}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, quick_compilation):
    """A run's folder with a checkpoint, the content of its files, and what it restores to."""
    folder = tmp_path_factory.mktemp("checkpoint")
    network = T5Config(
        vocab_size=16, emb_dim=8, num_heads=2, num_encoder_layers=2, num_decoder_layers=1,
        head_dim=4, mlp_dim=8,
    )  # fmt: skip
    mesh = make_mesh()
    params, optimizer = random_params(network, 0, mesh), make_optimizer(0.001, 10, 0)
    checkpoints = Checkpoints(epath.Path(folder))
    checkpoints.save(new_state(params, optimizer, 3, mesh), first_step=0, metric=0.5, lines=2)
    checkpoints.close()
    contents = {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    return folder, contents, state_shape(network, optimizer, mesh), of_arrays(params)


@hypothesis.settings(MANY, max_examples=100)
@hypothesis.given(data=st.data(), seal=st.booleans())
def test_a_checkpoint(checkpoint, data, seal):
    """As `recommend`, `train` and `convert` read one: what was written, or a line."""
    folder, contents, shape, fingerprint = checkpoint
    shutil.rmtree(folder)
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    # Half of them what Orbax says of the arrays, as there are more files of arrays.
    of_arrays_too = data.draw(st.booleans())
    names = [name for name in sorted(contents) if of_arrays_too or name.name in _OF_ORBAX]
    path = folder / data.draw(st.sampled_from(names))
    content = data.draw(changed(path.read_bytes()))
    path.write_bytes(resealed(content) if seal and path.parent.name == "info" else content)

    def restored(which):
        _, params = Checkpoints(epath.Path(folder), read_only=True).restore_params(
            which, shape.params
        )
        assert of_arrays(params) == fingerprint

    def converted():
        step = own.locate(epath.Path(folder))
        own.verify(step)
        assert own.open_weights(step).params

    def trained_on():
        saved = Checkpoints(epath.Path(folder)).restore_latest(shape)
        assert saved is None or of_arrays(saved.state.params) == fingerprint

    for read in (lambda: restored("best"), lambda: restored(3), converted, trained_on):
        holds_or_says(read)
