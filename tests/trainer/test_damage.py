"""A damaged byte in any artefact of a run or of its dataset: told, or made again, never a number.

| artefact | what reads it | what it does |
| --- | --- | --- |
| a dataset: its json, items, vocabulary, shards | every verb | refuses: prepare again |
| config.gin | recommend | refuses; report tells a gap |
| run.json | train, eval, recommend | refuses, naming the file |
| an array of a checkpoint | train | sets it aside and goes on from the one before |
|  | eval, recommend | fall back on another, telling so; refuse where there is none |
| a line of predictions | eval | makes it again |
|  | report | leaves it out and says so |
| predictions' settings | eval | makes all again |
| results.json | report | refuses: evaluate again |
| metrics.jsonl | train | takes away what is damaged or of no step, tells that and what is missing |
|  | report | leaves it out, and tells; so of one that is missing |
"""

import json
import pathlib
import shutil

import pytest
from etils import epath

from recalign.data import integrity
from recalign.data.origins import read
from recalign.data.prepared import open_dataset
from recalign.errors import UserError
from recalign.report.run import read_run
from recalign.trainer.checkpoints import Checkpoints
from recalign.trainer.partitioning import make_mesh
from recalign.trainer.predictions import PredictionFile
from recalign.trainer.run_config import load_run
from recalign.trainer.state import sharded_params_shape
from recalign.trainer.writers import MetricsWriter


def flipped(content: bytes, place: int, bit: int = 3) -> bytes:
    """The content with one bit of one byte turned."""
    damaged = bytearray(content)
    damaged[place % len(damaged)] ^= 1 << bit
    return bytes(damaged)


def places(content: bytes, count: int = 40) -> list[int]:
    """Bytes all over a file, the first and the last among them."""
    return sorted({n * (len(content) - 1) // (count - 1) for n in range(count)})


@pytest.fixture
def dataset(data_dir, tmp_path):
    """A dataset of the test's own, to be damaged."""
    shutil.copytree(pathlib.Path(data_dir) / "tiny", tmp_path / "tiny")
    return tmp_path


def read_all(data_dir: pathlib.Path) -> None:
    opened = open_dataset("tiny", data_dir)
    assert len(opened.catalogue) == opened.info["items"]
    assert opened.sentencepiece_model is not None
    for split in ("train", "validation", "test"):
        opened.sequences(split)


@pytest.mark.parametrize(
    "name",
    [
        "dataset.json",
        "items.parquet",
        "sentencepiece.model",
        "tiny-train.tfrecord-00000-of-00001",
        "tiny-test.tfrecord-00000-of-00001",
    ],
)
def test_a_flipped_bit_of_a_dataset_is_told(dataset, name):
    path = dataset / "tiny" / "1.0.0" / name
    content = path.read_bytes()
    few = 8 if "tfrecord" in name else 40
    for number, place in enumerate(places(content, few)):
        damaged = flipped(content, place, number % 8)
        if name == "dataset.json" and integrity.record_of(damaged, False) == json.loads(content):
            continue  # the same numbers: a float's 17th digit may be one of several
        path.write_bytes(damaged)
        open_dataset.__globals__["_open"].cache_clear()
        with pytest.raises(UserError, match=r"damaged .*: prepare the dataset again") as error:
            read_all(dataset)
        assert "\n" not in str(error.value)
    path.write_bytes(content)
    open_dataset.__globals__["_open"].cache_clear()
    read_all(dataset)


def shard(dataset: pathlib.Path, split: str) -> pathlib.Path:
    return dataset / "tiny" / "1.0.0" / f"tiny-{split}.tfrecord-00000-of-00001"


def records_of(content: bytes) -> list[bytes]:
    """The records of a TFRecord file in their frames: length, checksum, data, checksum."""
    found = []
    while content:
        length = 12 + int.from_bytes(content[:8], "little") + 4
        found.append(content[:length])
        content = content[length:]
    return found


@pytest.mark.parametrize("change", ["another split", "cut", "repeated", "swapped"])
def test_whole_records_in_the_wrong_place_are_told(dataset, change):
    """Their checksums hold: only the dataset's own digest sees it."""
    path = shard(dataset, "test")
    records = records_of(path.read_bytes())
    changed = {
        "another split": records_of(shard(dataset, "validation").read_bytes()),
        "cut": records[:-1],
        "repeated": [*records, records[-1]],
        "swapped": [records[1], records[0], *records[2:]],
    }[change]
    path.write_bytes(b"".join(changed))
    with pytest.raises(UserError, match="damaged"):
        open_dataset("tiny", dataset).sequences("test")


@pytest.mark.parametrize(
    "change",
    [
        {"items": "many"},
        {"shards": {"train": [], "validation": [[1, "a"]], "test": [[1, "a"]]}},
        {"shards": {"train": [["x", 1]], "validation": [[1, "a"]], "test": [[1, "a"]]}},
        {"files": []},
        {"name": 7},
        {"has_ratings": None},
        {"item_tokens": {"first": 1, "last": 2}},
    ],
)
def test_a_dataset_that_says_what_none_says_is_told(dataset, change):
    path = dataset / "tiny" / "1.0.0" / "dataset.json"
    info = json.loads(path.read_text()) | change
    path.write_text(integrity.sealed_json(info))
    with pytest.raises(UserError, match="damaged"):
        assert open_dataset("tiny", dataset).item_tokens is None


def test_a_dataset_under_another_name_is_told(dataset):
    (dataset / "tiny").rename(dataset / "other")
    with pytest.raises(UserError, match="holds the dataset 'tiny', not 'other'"):
        open_dataset("other", dataset)


@pytest.fixture
def run(trained, tmp_path):
    """A trained run of the test's own, to be damaged."""
    copy = tmp_path / "run"
    shutil.copytree(trained[0].model_dir, copy)
    return copy


def arrays(run: pathlib.Path) -> list[pathlib.Path]:
    return sorted(
        path
        for path in (run / "checkpoints").rglob("d/*")
        if path.is_file() and "params" in str(path)
    )


def test_a_damaged_array_is_told_and_another_checkpoint_taken(trained, run, capfd):
    shape = sharded_params_shape(trained[0].network, make_mesh())
    checkpoints = Checkpoints(epath.Path(run), read_only=True)
    steps = checkpoints.steps()
    newest = [path for path in arrays(run) if f"checkpoints/{steps[-1]}/" in str(path)]
    for path in newest:
        path.write_bytes(flipped(path.read_bytes(), len(path.read_bytes()) // 2))
    with pytest.raises(UserError, match=rf"checkpoints/{steps[-1]}: "):
        checkpoints.restore_params(steps[-1], shape)
    step, _ = checkpoints.restore_params("last", shape)
    assert step == steps[0]
    assert f"checkpoint {steps[-1]} is damaged" in capfd.readouterr().err


def test_arrays_that_changed_places_are_told(trained, run):
    """Whole files, valid as they are: those of one step beside the table of another."""
    shape = sharded_params_shape(trained[0].network, make_mesh())
    first, last = Checkpoints(epath.Path(run), read_only=True).steps()
    shutil.rmtree(run / "checkpoints" / str(last) / "params")
    shutil.copytree(
        run / "checkpoints" / str(first) / "params", run / "checkpoints" / str(last) / "params"
    )
    with pytest.raises(UserError, match="its params are not what was written"):
        Checkpoints(epath.Path(run), read_only=True).restore_params(last, shape)


def test_a_damaged_run_file_is_told(run):
    path = run / "run.json"
    content = path.read_bytes()
    for number, place in enumerate(places(content)):
        path.write_bytes(flipped(content, place, number % 8))
        with pytest.raises(UserError, match=r"run\.json") as error:
            read(epath.Path(run))
        assert "\n" not in str(error.value)


def test_a_damaged_config_is_a_gap_of_the_report(run):
    path = run / "config.gin"
    path.write_bytes(flipped(path.read_bytes(), 500))
    with pytest.raises(UserError, match=r"config\.gin: not as it was written"):
        load_run(run)
    assert any("config.gin is damaged" in gap for gap in read_run(epath.Path(run)).gaps)


def test_damaged_results_are_told(run):
    path = run / "results.json"
    content = path.read_bytes()
    for number, place in enumerate(places(content)):
        path.write_bytes(flipped(content, place, number % 8))
        try:
            found = read_run(epath.Path(run))
        except UserError as error:
            assert "results.json" in str(error) and "\n" not in str(error)
        else:  # the digest's own name is what was damaged
            assert any("no digest" in gap for gap in found.gaps)


def test_a_damaged_prediction_is_made_again_and_left_out_of_the_report(run, capfd):
    path = run / "predictions" / "retrieval_tiny-test.jsonl"
    settings = json.loads(path.with_suffix(".settings.json").read_text())
    lines = path.read_bytes().splitlines(keepends=True)
    whole = PredictionFile(epath.Path(run), "retrieval_tiny-test", settings).records
    assert len(whole) == len(lines) == 60
    for number, place in enumerate(places(lines[7][:-1], 20)):  # its end joins it to the next
        damaged = flipped(lines[7], place, number % 8)
        path.write_bytes(b"".join([*lines[:7], damaged, *lines[8:]]))
        found = PredictionFile(epath.Path(run), "retrieval_tiny-test", settings).records
        assert found == {n: record for n, record in whole.items() if n != 7}
    assert "damaged predictions are made again" in capfd.readouterr().err
    report = read_run(epath.Path(run))
    assert len(report.predictions["retrieval_tiny"].rows) == 59
    assert any("retrieval_tiny-test.jsonl, line 8 is damaged" in gap for gap in report.gaps)
    path.write_bytes(b"".join(lines)[: len(b"".join(lines)) // 2])  # a crash, half written
    half = PredictionFile(epath.Path(run), "retrieval_tiny-test", settings).records
    assert half == {n: whole[n] for n in half} and 20 < len(half) < 40


def test_files_of_two_runs_in_one_folder_are_told(run):
    """As a copied results.json is: nothing of it is damaged in itself."""
    results = json.loads((run / "results.json").read_text())
    written = (run / "results.json").read_text()
    results["made_from"]["params"] = "2:" + "0" * (len(results["made_from"]["params"]) - 2)
    (run / "results.json").write_text(integrity.sealed_json(results))
    with pytest.raises(UserError, match=r"of other weights than checkpoints/\d: .* evaluate again"):
        read_run(epath.Path(run))
    (run / "results.json").write_text(written)
    config = (run / "config.gin").read_text().replace("BATCH_SIZE = 8", "BATCH_SIZE = 4")
    (run / "config.gin").write_text("".join(config.splitlines(keepends=True)[:-1]))  # by hand
    found = read_run(epath.Path(run))
    assert found.configuration is None
    assert found.gaps[0].startswith("config.gin is not this run's: BATCH_SIZE is 4 there, 8 in run")


def test_damaged_settings_of_predictions_count_as_none(run):
    path = run / "predictions" / "retrieval_tiny-test.settings.json"
    settings = json.loads(path.read_text())
    path.write_bytes(flipped(path.read_bytes(), 30))
    assert PredictionFile(epath.Path(run), "retrieval_tiny-test", settings).records == {}


def test_a_flipped_bit_of_the_log_is_a_gap(run):
    """No number of it is taken for the run's: the line is left out, and the others stay."""
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    whole = read_run(epath.Path(run))
    assert whole.gaps == () and len(lines) == len(whole.records) == 4
    for number, place in enumerate(places(lines[1][:-1])):
        damaged = flipped(lines[1], place, number % 8)
        path.write_bytes(b"".join([lines[0], damaged, *lines[2:]]))
        found = read_run(epath.Path(run))
        left = tuple(it for it in whole.records if (it.step, it.kind) != (2, "eval"))
        assert found.records == left and len(left) == 3
        assert found.gaps == ("metrics.jsonl, line 2 is damaged and was left out.",)


@pytest.mark.parametrize(
    ("left", "told"),
    [
        ([0, 2, 3], "line 2 is missing"),
        ([0, 3], "lines 2 to 3 are missing"),
        ([2, 3], "lines 1 to 2 are missing"),
        ([0, 1, 2], "line 4 is missing"),
        ([0], "lines 2 to 4 are missing"),
    ],
)
def test_lines_that_were_cut_out_of_the_log_are_told(run, left, told):
    """Whole ones: each line says its number, and the checkpoint how many there were."""
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[n] for n in left))
    assert read_run(epath.Path(run)).gaps == (
        f"metrics.jsonl: {told} of those that the run wrote.",
    )


def test_a_line_of_the_log_that_stands_there_twice_is_told(run):
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[1], *lines[2:]]))
    told = "metrics.jsonl, line 3 stands there twice, or in another place."
    assert told in read_run(epath.Path(run)).gaps


def test_blank_lines_of_the_log_are_none_of_those_that_the_run_wrote(run):
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"\n".join(lines))
    assert read_run(epath.Path(run)).gaps == ()
    path.write_bytes(b"\n".join([*lines[:2], *lines[3:], lines[3]]))
    assert read_run(epath.Path(run)).gaps == (
        "metrics.jsonl: line 3 is missing of those that the run wrote.",
        "metrics.jsonl, line 7 stands there twice, or in another place.",
    )


@pytest.mark.parametrize("changed", [[0], [0, 1, 2], [3]])
def test_a_line_without_a_digest_among_others_is_told(run, capfd, changed):
    """Somebody who changes a figure may take the line's digest out, and those beside it."""
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for n in changed:
        record = {name: it for name, it in json.loads(lines[n]).items() if name != integrity.DIGEST}
        lines[n] = json.dumps({**record, "loss": 0.0}).encode() + b"\n"
    path.write_bytes(b"".join(lines))
    found = read_run(epath.Path(run))
    assert len(found.records) == len(lines) - len(changed)
    for n in changed:
        assert f"metrics.jsonl, line {n + 1} is damaged and was left out." in found.gaps
    MetricsWriter(epath.Path(run), 10**6)
    said = capfd.readouterr().err
    assert all(f"line {n + 1} is damaged and is taken away" in said for n in changed)


_OF_NO_STEP = [
    b"{}",
    b'{"step": "2"}',
    b'{"step": true}',
    b'{"step": null}',
    b'{"step": NaN}',
    b'{"step": -1}',
    b'{"step": 1' + b"0" * 300 + b"}",
    b"[" * 100_000,
    b"\xff\xfe",
    b'{"step": 1, "kind": "\xed\xa0\x80"}',
    '{"step": 1}'.encode("utf-16"),
    b"7",
]


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("line", [*_OF_NO_STEP, b'{"step": 1, "line": "2"}'])
def test_a_bad_line_of_the_log_is_taken_away_where_a_run_goes_on(tmp_path, capfd, line, place):
    """In a log without digests, where the line alone says what is wrong with it."""
    path = tmp_path / "metrics.jsonl"
    good = [b'{"step": 1, "kind": "train"}\n', b'{"step": 2, "kind": "train"}\n']
    path.write_bytes(b"".join([*good[:place], line + b"\n", *good[place:]]))
    MetricsWriter(epath.Path(tmp_path), 2).write(3, "train", {"loss": 1.0})
    left = path.read_bytes().splitlines(keepends=True)
    assert left[:2] == good and json.loads(left[2])["line"] == 3
    told = f"{path}, line {place + 1} is damaged and is taken away"
    assert [it for it in capfd.readouterr().err.splitlines() if "metrics.jsonl" in it] == [told]


@pytest.mark.parametrize(
    "line",
    [
        *_OF_NO_STEP,
        b'{"step": 2, "kind": "train", "loss": 1' + b"0" * 400 + b"}",
        b'{"step": 2, "time": 1' + b"0" * 400 + b"}",
    ],
)
def test_a_bad_line_of_the_log_is_a_gap(run, line):
    path = run / "metrics.jsonl"
    whole = read_run(epath.Path(run))
    path.write_bytes(path.read_bytes() + line + b"\n")
    found = read_run(epath.Path(run))
    assert found.records == whole.records
    assert len(found.gaps) == len(whole.gaps) + 1
