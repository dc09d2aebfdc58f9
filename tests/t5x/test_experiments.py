"""Every experiment file under T5X: it resolves there, to what the own engine reads in it."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from recalign.trainer.experiment import Experiment, load_experiment
from recalign.trainer.optimization import schedule_of
from tests.corpus import make_corpus

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXPERIMENTS = sorted(
    str(path.relative_to(ROOT))
    for folder in ("gin", "gin/base", "gin/own")
    for path in ROOT.glob(f"{folder}/*.gin")
)
ZERO_SHOT = [path for path in EXPERIMENTS if "zero_shot" in path]
TRAINED = [path for path in EXPERIMENTS if path not in ZERO_SHOT]
EVAL = (
    ["gin/runs/eval.gin"],
    ["CHECKPOINT_PATH = %PRETRAINED_CHECKPOINT", "EVAL_OUTPUT_DIR = 'x'"],
)
INFER = (
    ["gin/runs/infer.gin"],
    ["CHECKPOINT_PATH = %PRETRAINED_CHECKPOINT", "INFER_OUTPUT_DIR = 'x'"],
)
EXAMPLE = "gin/ut_at_toys.gin"


def own_bindings(path: str) -> list[str]:
    own = ["MIXTURE_OR_TASK_NAME = 'ut_at_toys'", "VOCAB_SIZE = 44_032"]
    own += ["INITIAL_CHECKPOINT_PATH = ''"]
    return ["MODEL_DIR = 'x'", *(own if path.startswith("gin/own") else [])]


def jobs() -> dict[str, tuple[str, list[str], list[str]]]:
    trained = {path: ("train", [path], own_bindings(path)) for path in TRAINED}
    evaluated = {path: ("eval", [path, *EVAL[0]], EVAL[1]) for path in [*ZERO_SHOT, EXAMPLE]}
    decoders = {
        decoder: ("train", [EXAMPLE, f"gin/runs/{decoder}_decoding.gin"], own_bindings(EXAMPLE))
        for decoder in ("fast", "constrained")
    }
    named = {f"eval {path}": job for path, job in evaluated.items()}
    return {**trained, **named, **decoders, "infer": ("infer", [EXAMPLE, *INFER[0]], INFER[1])}


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, dict]:
    """By job: the settings that T5X has."""
    data_dir = tmp_path_factory.mktemp("data")
    for name in ("toys", "beauty", "sports", "demo"):
        make_corpus(name, data_dir)
    # As many as the largest slice that an experiment's NUM_PARTITIONS asks for.
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=16"
    outcome = subprocess.run(
        [sys.executable, "-m", "tests.t5x.resolve", str(data_dir)],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        input=json.dumps(jobs()),
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stderr[-3000:]
    return json.loads(outcome.stdout)


def own_settings(made: Experiment) -> dict:
    """What the own engine reads in a file, under the names of `resolve`."""
    model = vars(made.model)
    sizes = ("vocab_size", "emb_dim", "num_heads", "num_encoder_layers", "num_decoder_layers")
    same = ("mixture_or_task_name", "batch_size", "z_loss", "label_smoothing", "num_partitions")
    same = (*same, "loss_normalizing_factor", "dropout_rate", "beam_size", "train_steps")
    same = (
        *same,
        "eval_period",
        "eval_steps",
        "checkpoint_period",
        "keep_checkpoints",
        "seed",
        "pack",
    )
    start = made.initial_checkpoint_path
    return {
        **{name: model[name] for name in (*sizes, "head_dim", "mlp_dim", "dtype")},
        **{name: getattr(made, name) for name in same},
        "task_feature_lengths": dict(made.task_feature_lengths),
        "input_length_of_evaluation": made.task_feature_lengths["inputs"],
        "first_step": made.initial_step,
        "start_weights": list(start) if isinstance(start, tuple) else start,
        "split": made.test_split,
    }


def assert_same(theirs: dict, path: str) -> None:
    made = load_experiment([path], own_bindings(path))
    rate = schedule_of(made, made.initial_step)
    for step, value in theirs.pop("learning_rates").items():
        assert value == pytest.approx(float(rate(made.initial_step + int(step))), rel=1e-6), step
    own = own_settings(made)
    assert theirs == {name: own[name] for name in theirs}


@pytest.mark.parametrize("path", TRAINED)
def test_training_is_the_own_engines(found, path):
    assert found[path].pop("decoder") == "EncoderDecoderModel"
    assert_same(found[path], path)


@pytest.mark.parametrize("path", [*ZERO_SHOT, EXAMPLE])
def test_evaluation_is_the_own_engines(found, path):
    assert found[f"eval {path}"].pop("decoder") == "EncoderDecoderModel"
    assert_same(found[f"eval {path}"], path)


@pytest.mark.parametrize(
    "job, model",
    [
        ("fast", "FastDecodingModel"),
        ("constrained", "ConstrainedDecodingModel"),
        ("infer", "EncoderDecoderModel"),
    ],
)
def test_decoders_and_inference(found, job, model):
    assert found[job].pop("decoder") == model
    assert_same(found[job], EXAMPLE)
