"""A tiny experiment planned for a slice that is not there, against a count by hand.

Without libtpu (README: `recalign plan`) only what is said of its absence is tested.
"""

import importlib.util
import json
import pathlib
import re
import shlex

import pytest

from recalign import cli, plan, quiet
from recalign.errors import UserError
from recalign.plan import chips
from recalign.plan.programs import Layout
from recalign.trainer.experiment import load_experiment

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = ["gin/models/tiny.gin", "gin/runs/finetune.gin"]
MACROS = {
    "MIXTURE_OR_TASK_NAME": "ut_at_demo",
    "MODEL_DIR": "unused",
    "TASK_FEATURE_LENGTHS": {"inputs": 64, "targets": 16},
    "VOCAB_SIZE": 256,
    "BATCH_SIZE": 8,
    "TRAIN_STEPS": 1000,
    "INITIAL_STEP": 100,
    "DROPOUT_RATE": 0.0,
    "BEAM_SIZE": 4,
    "NUM_PARTITIONS": 2,
}
needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed"
)


def bindings(**macros):
    return [f"{name} = {value!r}" for name, value in {**MACROS, **macros}.items()]


@pytest.fixture(scope="module")
def planned():
    return plan.plan(load_experiment(FILES, bindings()), "v5e:2x2")


@needs_libtpu
def test_operations_of_a_train_step(planned):
    layers, examples, length, longest = 2, 8, 64, 16
    width, heads, hidden, vocabulary = 64, 64, 128, 256
    encoder = 4 * 2 * length * width * heads + 4 * length**2 * heads + 6 * length * width * hidden
    decoder = (
        (4 + 2) * 2 * longest * width * heads
        + 2 * 2 * length * width * heads
        + 4 * longest * (longest + length) * heads
        + 6 * longest * width * hidden
    )
    by_hand = 3 * examples * (layers * (encoder + decoder) + 2 * longest * width * vocabulary) / 4
    # Relative positions are the rest.
    assert planned.train.flops == pytest.approx(by_hand, rel=0.05)
    assert planned.train.flops > by_hand


@needs_libtpu
def test_memory_of_a_chip(planned):
    width, heads, hidden, vocabulary = 64, 64, 128, 256
    attention, mlp, norm = 4 * width * heads, 3 * width * hidden, width
    layers = 2 * (attention + mlp) + 2 * (2 * attention + mlp)
    norms = 2 * 2 * norm + 2 * 3 * norm + 2 * norm
    tables = 2 * vocabulary * width + 2 * 4 * 32
    assert planned.sizes.parameters == 4 * ((layers + tables) // 2 + norms)
    assert planned.sizes.gradients == planned.sizes.parameters
    # Too narrow to be factored: second moments of the parameters' own shapes, and placeholders.
    assert 0 < planned.sizes.optimizer - planned.sizes.parameters < 1024
    held = planned.sizes.parameters + planned.sizes.optimizer
    # The batch, and the padding of small arrays to whole tiles, come besides.
    assert held < planned.train.arguments < 1.5 * held + 2**20
    assert planned.train.peak < planned.available < planned.where.chip.hbm_bytes


@needs_libtpu
def test_hours_are_those_of_fine_tuning(planned):
    assert planned.fits and planned.steps == 900
    assert planned.chip_hours == pytest.approx(4 * planned.hours)
    assert 0 < planned.hours < 0.1
    head, verdict = plan.as_text(planned).split("\n\n")[:2]
    assert head.startswith("ut_at_demo on v5e:2x2: 4 chips, 15.75 GiB of HBM each")
    assert verdict.startswith("It fits: ") and "900 steps take 0.0 hours" in verdict


@needs_libtpu
def test_a_model_that_no_layout_fits_is_refused_with_the_compilers_numbers():
    sizes = {"EMB_DIM": 65536, "NUM_HEADS": 4, "HEAD_DIM": 8192, "MLP_DIM": 65536}
    found = plan.plan(load_experiment(FILES, bindings(**sizes)), "v5e:2x2")
    assert not found.fits and found.hours is None
    assert "exceeds available HBM (15.75G)" in found.train.refusal
    assert "does not fit" in plan.as_text(found)


@needs_libtpu
def test_where_nothing_is_trained_only_decoding_is_planned():
    experiment = load_experiment(FILES, bindings(TRAIN_STEPS=MACROS["INITIAL_STEP"]))
    found = plan.plan(experiment, "v5e:2x2")
    assert found.fits and found.train is None and found.hours is None
    text = plan.as_text(found)
    assert "Decode step" in text and "Train step" not in text and "hours," not in text
    with pytest.raises(UserError, match="trains none"):
        plan.plan(experiment, "v5e:2x2", searching=True)


@needs_libtpu
def test_a_search_recommends_lines_that_parse_and_fit():
    found = plan.plan(load_experiment(FILES, bindings(BATCH_SIZE=4)), "v5e:2x2", searching=True)
    assert found.fits and found.tried[0].layout == found.layout
    pasted = load_experiment(FILES, [*bindings(BATCH_SIZE=4), *found.gin])
    assert Layout.of(pasted) == found.layout
    assert "To paste" in plan.as_text(found)


@needs_libtpu
def test_the_command_prints_json(monkeypatch, capsys):
    monkeypatch.setattr(quiet, "load_tensorflow", lambda: None)
    flags = [f"--gin.{line.replace(' = ', '=', 1)}" for line in bindings()]
    files = [f"--gin_file={name}" for name in FILES]
    assert cli.main(["plan", *files, *flags, "--topology", "v5e:2x2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["fits"] and found["chips"] == 4
    assert found["train"]["roofline"]["seconds"] > 0


def test_xxl_is_planned_as_its_models_file_says():
    """Another model's file after an experiment, and what it takes back given again."""
    head = (ROOT / "gin/models/flan_t5_xxl.gin").read_text().replace("\\\n#", "")
    (command,) = re.findall("#   (recalign plan .+)", head)
    words = shlex.split(command)
    files = [word.removeprefix("--gin_file=") for word in words if word.startswith("--gin_file=")]
    given = [word.removeprefix("--gin.") for word in words if word.startswith("--gin.")]
    xxl = load_experiment(files, ["MODEL_DIR = 'x'", *given])
    xl = load_experiment(["gin/ut_at_toys.gin"], ["MODEL_DIR = 'x'"])
    assert (xxl.model.emb_dim, xxl.initial_step) == (4096, 1_114_000)
    assert xxl.train_steps - xxl.initial_step == xl.train_steps - xl.initial_step
    for name in ("mixture_or_task_name", "task_feature_lengths", "batch_size", "dropout_rate"):
        assert getattr(xxl, name) == getattr(xl, name)


def test_without_libtpu_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(chips.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install libtpu=="):
        plan.plan(load_experiment(FILES, bindings()), "v5e:2x2")
