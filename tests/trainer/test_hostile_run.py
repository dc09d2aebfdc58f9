"""A run's folder and a dataset from somebody else: nothing in them runs or leaves the machine.

What gin offers is in test_run_config.py. Here are NumPy's pickles, Parquet's extension types,
SentencePiece's files, TFDS's class names, and Orbax's metadata; each is sealed again, as whoever
can write a file can write its digest.
"""

import dataclasses
import io
import json
import os
import pathlib
import pickle
import re
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from etils import epath

from recalign.data import integrity
from recalign.data.prepared import open_dataset
from recalign.data.synthetic import read_law
from recalign.errors import UserError
from recalign.trainer.checkpoints import Checkpoints
from recalign.trainer.evaluation import evaluate
from recalign.trainer.partitioning import make_mesh
from recalign.trainer.predictions import PredictionFile
from recalign.trainer.recommend import Recommender
from recalign.trainer.state import sharded_params_shape
from recalign.trainer.writers import MetricsWriter

_WATCHED = (
    "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect",
    "pickle.find_class",
)  # fmt: skip
# What Orbax writes beside the arrays; array_metadatas is a folder.
_OF_ORBAX = {"_METADATA", "_CHECKPOINT_METADATA", "_sharding", "metadata", "array_metadatas"}
_seen: list[str] = []
_watching: list[bool] = []


def _note(event: str, arguments: tuple) -> None:
    if _watching and event in _WATCHED:
        _seen.append(f"{event} {arguments}"[:200])


@pytest.fixture(autouse=True)
def nothing_runs(tmp_path, request):
    """Python tells of every program that is started and every place that is connected to."""
    if request.node.get_closest_marker("slow"):
        yield  # it starts strace, and what strace sees counts
        return
    if not hasattr(sys, "_recalign_watches"):
        sys.addaudithook(_note)
        sys._recalign_watches = True
    _seen.clear()
    _watching.append(True)
    yield
    _watching.clear()
    assert _seen == []
    assert not list(tmp_path.rglob("ran"))


class Touch:
    """Touches a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


@pytest.fixture
def dataset(data_dir, tmp_path):
    """Puts content in a file of a dataset, and seals it."""
    shutil.copytree(pathlib.Path(data_dir) / "tiny", tmp_path / "tiny")
    folder = tmp_path / "tiny" / "1.0.0"

    def put(name: str, content: bytes) -> pathlib.Path:
        (folder / name).write_bytes(content)
        info = json.loads((folder / "dataset.json").read_text())
        info["files"][name] = integrity.digest_of(content)
        (folder / "dataset.json").write_text(integrity.sealed_json(info))
        return tmp_path

    return put


def test_a_pickle_in_an_array_is_not_loaded(dataset, tmp_path):
    buffer = io.BytesIO()
    names = ("raw_ids", "theme", "quality", "popularity", "sequel")
    np.savez(buffer, **{name: np.array([Touch(tmp_path / "ran")], object) for name in names})
    with pytest.raises(UserError, match=r"law\.npz"):
        read_law(open_dataset("tiny", dataset("law.npz", buffer.getvalue())))
    with pytest.raises(UserError, match=r"law\.npz"):
        pickled = pickle.dumps(Touch(tmp_path / "ran"))
        read_law(open_dataset("tiny", dataset("law.npz", pickled)))


def test_a_pickled_type_in_a_table_is_not_loaded(dataset, tmp_path):
    """As pyarrow's Python extension types once were."""
    pickled = pickle.dumps(Touch(tmp_path / "ran"))
    meta = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickled,
    }
    fields = [pa.field(name, pa.string(), metadata=meta) for name in ("id", "raw_id", "title")]
    table = pa.table([["I1"], ["a"], ["b"]], schema=pa.schema(fields, {b"pandas": pickled}))
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    data_dir = dataset("items.parquet", buffer.getvalue())
    with pytest.raises(UserError, match=r"items\.parquet: not a catalogue"):
        assert open_dataset("tiny", data_dir).catalogue


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, pickle.dumps([1])])
def test_a_vocabulary_that_is_none(dataset, content, trained, tmp_path):
    data_dir = dataset("sentencepiece.model", content)
    run = tmp_path / "run"
    shutil.copytree(trained[0].model_dir, run)
    (run / "run.json").unlink()
    with pytest.raises(UserError, match=r"sentencepiece\.model"):
        Recommender(run, data_dir=str(data_dir))


def test_the_classes_that_tfds_would_import_are_not_read(dataset, tmp_path, monkeypatch):
    (tmp_path / "hostile_features.py").write_text("import pathlib; pathlib.Path('ran').touch()")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    content = b'{"pythonClassName": "hostile_features.Features", "featuresDict": {}}'
    data_dir = dataset("features.json", content)
    assert len(open_dataset("tiny", data_dir).sequences("test")) == 60
    assert "hostile_features" not in sys.modules


_TOUCH = "__import__('os').system('touch ran')"


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("StandardCheckpointHandler", "os.system"),
        ("orbax.checkpoint", "hostile_handlers"),
        ("jax.Array", _TOUCH),
        ("jax.Array", "pickle"),
        ("('decoder'", f"({_TOUCH}"),
        ("NamedSharding", "hostile_handlers.Sharding"),
        ("AxisType.Auto", _TOUCH),
        ('"ext_metadata": null', f'"ext_metadata": {{"random_key_impl": "{_TOUCH}"}}'),
        ('"custom_metadata": null', '"custom_metadata": {"module": "hostile_handlers"}'),
        ("true", _TOUCH),
        (None, "[" * 100_000),
        (None, "{}"),
        (None, "\x80\x04."),
    ],
)
def test_what_orbax_says_of_its_arrays_calls_nothing(trained, tmp_path, monkeypatch, text, other):
    """Read or refused, in one line; a text that stands in none of its files would show nothing."""
    run = tmp_path / "run"
    shutil.copytree(trained[0].model_dir, run)
    (tmp_path / "hostile_handlers.py").write_text("import pathlib; pathlib.Path('ran').touch()")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    changed = set()
    for path in (run / "checkpoints").rglob("*"):
        kind = "array_metadatas" if path.parent.name == "array_metadatas" else path.name
        if kind in _OF_ORBAX and path.is_file():
            before = path.read_text()
            path.write_text(other if text is None else before.replace(text, other))
            changed |= {kind} if path.read_text() != before else set()
    assert changed if text else changed == _OF_ORBAX
    shape = sharded_params_shape(trained[0].network, make_mesh())
    try:
        Checkpoints(epath.Path(run), read_only=True).restore_params("last", shape)
    except UserError as error:
        assert "\n" not in str(error)
    assert "hostile_handlers" not in sys.modules


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("metrics.jsonl", lambda run: MetricsWriter(run, 0).write(1, "train", {"loss": 1.0})),
        ("predictions", lambda run: PredictionFile(run, "x", {})),
        ("predictions/x.parts", lambda run: PredictionFile(run, "x", {}).append([{"index": 0}])),
        ("checkpoints", Checkpoints),
        ("checkpoints/4", Checkpoints),
        ("damaged_checkpoints", Checkpoints),
    ],
)
def test_nothing_is_written_through_a_link(tmp_path, name, write):
    """A command that writes into the folder changes nothing outside it."""
    elsewhere, link = tmp_path / "elsewhere", tmp_path / "run" / name
    if name != "metrics.jsonl":
        elsewhere.mkdir()
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError) as error:
        write(epath.Path(tmp_path / "run"))
    assert str(error.value) == f"{link} is a link, and nothing is written through it: remove it"
    assert sorted(tmp_path.iterdir()) == before
    assert not elsewhere.exists() or not list(elsewhere.iterdir())


_SUCH_AS_NONE = [
    {"tokens": None},
    {"tokens": [["a"]]},
    {"tokens": 7},
    {"tokens": [[2**40]]},
    {"tokens": [[640]] * 4},
    {"tokens": [[]] * 4},
    {"tokens": [[5] * 100] * 4},
    {"scores": []},
    {"scores": ["a"] * 4},
    {"log_probs": [10**400] * 4},
    {"beams": [7] * 4},
    {"index": 10**6},
    {"index": -1},
    {"index": True},
    {"row": "7"},
    {"target": None},
]


def test_a_prediction_such_as_none_is_made_again(trained, tmp_path, capfd):
    experiment, results = trained
    run = tmp_path / "run"
    shutil.copytree(experiment.model_dir, run)
    experiment = dataclasses.replace(experiment, model_dir=str(run))
    step = results["checkpoint_step"]
    assert evaluate(experiment, "test", step) == results  # another test may have asked for less
    capfd.readouterr()
    path = run / "predictions" / "retrieval_tiny-test.jsonl"
    whole = path.read_bytes()
    lines = [json.loads(line) for line in whole.splitlines()]
    for number, change in enumerate(_SUCH_AS_NONE):
        lines[number] = integrity.sealed(lines[number] | change, integrity.DIGITS_OF_A_LINE)
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert evaluate(experiment, "test", step) == results
    assert path.read_bytes() == whole
    told = [line for line in capfd.readouterr().err.splitlines() if "damaged" in line]
    assert told == [f"retrieval_tiny-test: {len(_SUCH_AS_NONE)} damaged predictions are made again"]


_MAY_RUN = re.compile(r"python[\d.]*|ldconfig(\.real)?|uname")
_UNFINISHED = " <unfinished ...>"


def whole_calls(lines: list[str]) -> list[str]:
    """The lines of strace -f, the halves of a call joined; one that never ended is a line too."""
    whole, begun = [], {}
    for line in lines:
        process, _, call = line.partition(" ")
        call = call.lstrip()  # strace pads short numbers
        if call.endswith(_UNFINISHED):
            begun[process] = call.removesuffix(_UNFINISHED)
            continue
        if resumed := re.match(r"<\.\.\. \w+ resumed>", call):
            call = begun.pop(process, "") + call[resumed.end() :]
        whole.append(f"{process} {call}")
    return whole + [f"{process} {call}" for process, call in begun.items()]


def programs_of(lines: list[str]) -> list[str]:
    """The paths of programs that were started or looked for, whatever came of it."""
    calls = [line for line in lines if re.match(r"\d+ execve(at)?\(", line)]
    found = [re.match(r'\d+ execve\("([^"]*)"', line) for line in calls]
    assert None not in found, calls
    return [match[1] for match in found if match]


@pytest.mark.slow
def test_by_the_system_calls(tmp_path):
    """The tests above and those of gin again, watched from outside: no program, no connection but
    local ones."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    calls, of_gin = tmp_path / "calls", pathlib.Path(__file__).with_name("test_run_config.py")
    outcome = subprocess.run(
        ["strace", "-f", "-qq", "-e", "trace=execve,execveat,connect", "-o", str(calls),
         sys.executable, "-m", "pytest", "-q", "-rp", "-m", "not slow", __file__,
         os.fspath(of_gin)],
        cwd=pathlib.Path(__file__).resolve().parents[2], capture_output=True, text=True,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stdout[-3000:]
    passed = {line.split("::")[0] for line in outcome.stdout.splitlines() if "PASSED" in line}
    names = ("test_hostile_run.py", "test_run_config.py")
    assert passed == {f"PASSED tests/trainer/{name}" for name in names}
    lines = whole_calls(calls.read_text().splitlines())
    assert not [line for line in lines if "connect(" in line and "AF_INET" in line]
    programs = programs_of(lines)
    assert any(pathlib.PurePath(path).name.startswith("python") for path in programs)
    assert [path for path in programs if not _MAY_RUN.fullmatch(pathlib.PurePath(path).name)] == []


def test_the_programs_and_connections_that_strace_tells():
    """Processes write into one file: a call of one is cut where another's ends before it."""
    told = [
        '7 execve("/usr/bin/python3", ["python3"], 0x1 /* 9 vars */) = 0',
        '8 execve("/bin/sh", ["sh", "/python"], 0x1 /* 9 vars */ <unfinished ...>',
        "9 connect(3, {sa_family=AF_INET6, <unfinished ...>",
        '7 connect(4, {sa_family=AF_UNIX, sun_path="/x"}, 110) = 0',
        "9 <... connect resumed>sin6_port=htons(80)}, 28) = -1 EINPROGRESS (in progress)",
        "8 <... execve resumed>) = 0",
        '8 execve("/no/curl", ["curl"], 0x1 /* 9 vars */) = -1 ENOENT (No such file)',
        '7 execve("/bin/true", ["true"], 0x1 /* 9 vars */ <unfinished ...>',
        "7 +++ killed by SIGKILL +++",
    ]
    whole = whole_calls(told)
    assert sum("AF_INET6" in line and "EINPROGRESS" in line for line in whole) == 1
    assert sorted(programs_of(whole)) == ["/bin/sh", "/bin/true", "/no/curl", "/usr/bin/python3"]
