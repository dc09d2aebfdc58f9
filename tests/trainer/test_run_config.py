"""A run's folder is data: what anybody may have written into a config.gin."""

import os
import pathlib
import sys

import pytest

from recalign.data import integrity
from recalign.errors import UserError
from recalign.trainer.experiment import load_experiment
from recalign.trainer.run_config import load_run, text_of
from tests.trainer.conftest import FILES, bindings

EVIL = "run_config_evil"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Makes a run's folder with these lines after its own; a module that must not be loaded lies in
    the working directory and in the run."""
    (tmp_path / f"{EVIL}.py").write_text("import pathlib\npathlib.Path('ran').touch()\n")
    (tmp_path / "included.gin").write_text(f"import {EVIL}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    root = pathlib.Path(__file__).resolve().parents[2]
    files = [str(root / file) for file in FILES]
    config = text_of(load_experiment(files, bindings(MODEL_DIR="somewhere")))

    def make(*lines: str) -> str:
        text = config.rpartition("# sha256")[0] + "".join(f"{line}\n" for line in lines)
        (tmp_path / "config.gin").write_text(text)
        return str(tmp_path)

    yield make
    assert not (tmp_path / "ran").exists()
    assert EVIL not in sys.modules


DYNAMIC = "from __gin__ import dynamic_registration"


@pytest.mark.parametrize("modules", [(), ("json",)])
@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([DYNAMIC, "import os", "A = @os.system()"], "import os: a run's config is read as data"),
        ([DYNAMIC, "import json", "BATCH_SIZE = @json.loads()"], "(import json|@json.loads).*data"),
        ([DYNAMIC, "BATCH_SIZE = @json.codecs.os.system()"], r"system\(\) refers to code"),
        (["json.loads.s = 'x'"], "json.loads.s = 'x' is no setting"),
        (["include 'json'"], "include 'json': .* read as data"),
        (["BATCH_SIZE = @seqio.SentencePieceVocabulary()"], r"Vocabulary\(\) refers to code"),
        (["BATCH_SIZE = @gin.macro"], "@gin.macro refers to code"),
        (["import os"], r"config.gin:\d+: import os: a run's config is read as data"),
        (["BATCH_SIZE = @os.system()"], r"batch_size = @os.system\(\) refers to code"),
        (["os.system.command = 'touch ran'"], r"os.system.command = 'touch ran' is no setting"),
        ([f"import {EVIL}"], f"import {EVIL}: .*--module {EVIL}"),
        ([f"from {EVIL} import x"], f"from {EVIL} import x: .* read as data"),
        (["include 'included.gin'"], r"include 'included.gin': .* read as data"),
        (["include 'gs://nowhere/x.gin'"], r"include 'gs://nowhere/x.gin': .* read as data"),
        ([f"MIXTURE_OR_TASK_MODULE = '{EVIL}'"], f"= '{EVIL}': its code would run: give --module"),
        (["Experiment.model = @os.getcwd()"], r"is not @T5Config\(\)"),
        (["Experiment.model = @x/T5Config()"], r"is not @T5Config\(\)"),
        (["TASK_FEATURE_LENGTHS = {'inputs': [(1, @os.getcwd)]}"], "refers to code"),
        (["x/Experiment.beam_size = 3"], "has a scope"),
        (["Experiment.model_dirs = 3"], "is no setting of recalign's"),
        (["DATA_DIR = 'gs://elsewhere/data'"], r"'gs://elsewhere/data': not read .* --data_dir"),
        (
            ["P5_TEMPLATES = 'https://elsewhere/x'"],
            "P5_TEMPLATES = 'https://elsewhere/x': not read",
        ),
        (["tasks.vocabulary.sentencepiece_model = 's3://x/y'"], "'s3://x/y': not read"),
        (["A = %B", "B = %A", "BATCH_SIZE = %A"], "A refers to itself"),
        (["BATCH_SIZE = %NOWHERE"], "reads NOWHERE, which is set nowhere"),
        (
            ["TASK_FEATURE_LENGTHS = {'inputs': 1000000000, 'targets': 24}"],
            "1000000000.* is to give the tokens .* at most 1,048,576",
        ),
        (
            ["VOCAB_SIZE = 1000000000000"],
            r"T5Config\.vocab_size must be at most 16,777,216, not 10",
        ),
        (["MLP_DIM = 1000000000000"], r"T5Config\.mlp_dim must be at most 16,777,216, not 10"),
        (["HISTORY_LENGTH = 1000000000"], r"history_length = 1000000000: at most 65,536 is needed"),
        (["CANDIDATE_POOL = 1000000000"], r"candidate_pool = 1000000000: at most 65,536 is needed"),
        (["BATCH_SIZE = 1000000000"], "batch_size = 1000000000: .* must be at most 1,048,576"),
        (["EVAL_BATCH_SIZE = 1000000000"], "= 1000000000: .* must be at most 1,048,576"),
        (["BEAM_SIZE = 1000000000"], "beam_size = 1000000000: .* must be at most 1,048,576"),
        (["BATCH_SIZE = 'x'"], "batch_size = 'x': .* must be a whole number"),
        (["BATCH_SIZE = " + "[" * 5000 + "]" * 5000], "config.gin"),
        (["BATCH_SIZE = " + "9" * 5000], "config.gin"),
        (["BATCH_SIZE = (1"], "config.gin"),
        (["\0"], "config.gin"),
        (["  x"], "config.gin"),
        (["BATCH_SIZE 8"], "config.gin:"),
    ],
)
def test_nothing_but_settings_that_are_values_is_read(run, lines, message, modules):
    """Nor where the user names a module: that trusts no other."""
    with pytest.raises(UserError, match=message) as error:
        load_run(run(*lines), modules=modules)
    assert "\n" not in str(error.value)


def test_settings_of_any_kind_come_back(run):
    lines = ["LEARNING_RATE = 1e-05", "EVAL_TASKS = ('a',)", "MIXTURE_RATES = {'mim': 2.5}"]
    made = load_run(run(*lines))
    assert (made.learning_rate, made.eval_tasks, made.rates) == (1e-5, ("a",), {"mim": 2.5})


def test_lengths_are_those_that_the_run_was_made_with(run, tmp_path):
    """The model would be compiled for what the file says, whatever memory that takes."""
    made = load_run(run())
    lengths = dict(made.task_feature_lengths)
    made_from = {"made_from": {"training": {"task_feature_lengths": lengths}}, "changes": []}
    (tmp_path / "run.json").write_text(integrity.sealed_json(made_from))
    assert load_run(tmp_path) == made
    run("TASK_FEATURE_LENGTHS = {'inputs': 1048576, 'targets': 24}")
    with pytest.raises(UserError, match=r"config.gin: TASK_FEATURE_LENGTHS = {'inputs': 1048576"):
        load_run(tmp_path)
    (tmp_path / "run.json").unlink()
    assert load_run(tmp_path).task_feature_lengths["inputs"] == 2**20


def test_a_module_that_the_user_names_may_run(tmp_path, monkeypatch):
    """Its settings and references hold, in `train` and then in `recommend`; no other module's."""
    (tmp_path / "run_config_other.py").write_text(
        "import gin\n@gin.configurable\ndef other_batch(users=5):\n    return 2 * users\n"
    )
    (tmp_path / "run_config_mine.py").write_text(
        "import gin, run_config_other\n"
        "@gin.configurable\ndef batch_of(users=3):\n    return 2 * users\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    mine = ["import run_config_mine", "batch_of.users = 4", "BATCH_SIZE = @batch_of()"]
    experiment = tmp_path / "mine.gin"
    experiment.write_text("\n".join(mine))
    rest = [it for it in bindings(MODEL_DIR="x") if not it.startswith("BATCH_SIZE")]
    trained = load_experiment([*FILES, str(experiment)], rest)
    assert trained.batch_size == 8
    (tmp_path / "config.gin").write_text(text_of(trained))
    with pytest.raises(UserError, match=r"import run_config_mine: .*--module"):
        load_run(tmp_path)
    with pytest.raises(UserError, match=r"--module nothing_there: No module"):
        load_run(tmp_path, modules=["nothing_there"])
    again = load_run(tmp_path, modules=["run_config_mine"])
    assert (again.batch_size, again.foreign) == (
        8,
        ("import run_config_mine", "batch_of.users = 4"),
    )
    own = text_of(trained).rpartition("# sha256")[0]
    for line in ("BATCH_SIZE = @other_batch()", "other_batch.users = 3"):
        (tmp_path / "config.gin").write_text(f"{own}{line}\n")
        with pytest.raises(UserError, match=r"other_batch.*--module NAME"):
            load_run(tmp_path, modules=["run_config_mine"])
        both = load_run(tmp_path, modules=["run_config_mine", "run_config_other"])
        assert both.batch_size == (10 if "@" in line else 8)


def test_what_one_binding_shadows_another_still_loads(run, tmp_path):
    """What an error about a small catalogue advises: it stood in the way of `recommend`."""
    made = load_experiment(FILES, [*bindings(MODEL_DIR="x"), "TaskSettings.candidate_pool = 11"])
    assert made.settings.candidate_pool == 11
    (tmp_path / "config.gin").write_text(text_of(made))
    assert load_run(tmp_path).settings == made.settings
    assert load_experiment([os.fspath(tmp_path / "config.gin")]).settings == made.settings


def test_a_damaged_byte_anywhere_is_told(run, tmp_path):
    text = text_of(load_run(run())).encode()
    for place in range(0, len(text), 97):
        damaged = bytearray(text)
        damaged[place] ^= 1 << (place % 8)
        (tmp_path / "config.gin").write_bytes(damaged)
        with pytest.raises(UserError, match=r"config.gin: (not as it was written|damaged)"):
            load_run(tmp_path)
