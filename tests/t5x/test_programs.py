"""T5X's own programs on the experiments' files, and the own engine from where they stopped."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from recalign.preprocessors.stream import Stream
from recalign.trainer import evaluation
from recalign.trainer.loop import train
from recalign.weights import convert, load_params
from tests.corpus import make_corpus

from .conftest import TINY
from .test_engines import own_evaluation, own_losses

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The demo's experiment, and UT+AT on toys with a tiny model in place of the paper's.
FILES = {"demo": ["gin/ut_at_demo.gin"], "toys": ["gin/own/words.gin"]}
# Fine-tuning of a model that has learnt to answer: of one that has not, all metrics are 0.
START, HALF, END = 150, 160, 170
BEAMS = TINY["BEAM_SIZE"]
MACROS = {name: value for name, value in TINY.items() if name != "MIXTURE_OR_TASK_NAME"} | {
    "OPTIMIZER_NAME": "adafactor",  # whose moments T5X asks of the checkpoint that it starts from
    "LEARNING_RATE_FACTORS": "constant * linear_warmup",
    "PACK": False,
    "LOGITS_VIA_EMBEDDING": False,  # as in that checkpoint
    "PRETRAINED_STEP": START,
    "TRAIN_STEPS": END,
    "EVAL_PERIOD": 20,
    "EVAL_STEPS": 1,
    "CHECKPOINT_PERIOD": 10,
    "KEEP_CHECKPOINTS": 3,  # of START, HALF and END
}


@dataclasses.dataclass(frozen=True)
class Run:
    """20 steps by T5X with its own decoder, from the checkpoint `start`.

    Checkpoints are those of START, HALF and END.
    """

    name: str
    data_dir: str
    start: str
    model_dir: pathlib.Path

    @property
    def mixture(self) -> str:
        return f"ut_at_{self.name}"

    @property
    def macros(self) -> dict[str, Any]:
        return {
            **MACROS,
            "MIXTURE_OR_TASK_NAME": self.mixture,
            "PRETRAINED_CHECKPOINT": self.start,
        }

    @property
    def tasks(self) -> list[str]:
        return [f"{kind}_{self.name}" for kind in ("retrieval", "ranking", "rating")]

    def t5x(self, program: str, *arguments: str, files: list[str] | None = None, **macros: Any):
        """python -m t5x.PROGRAM from the repository's root, `files` after the experiment's."""
        macros = {**self.macros, **macros}
        given = [f"--gin.{name}={value!r}" for name, value in macros.items()]
        outcome = subprocess.run(
            [
                *(sys.executable, "-m", f"t5x.{program}"),
                *(f"--gin_file={file}" for file in [*FILES[self.name], *(files or [])]),
                *given,
                *arguments,
                f"--tfds_data_dir={self.data_dir}",
            ],
            cwd=ROOT,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
        )
        assert outcome.returncode == 0, outcome.stderr[-3000:]

    def train(self, *arguments: str, model_dir: pathlib.Path) -> None:
        self.t5x("train", "--gin.train.stats_period=1", *arguments, MODEL_DIR=str(model_dir))


@pytest.fixture(scope="module", params=FILES)
def run(request, data_dir, trained, tmp_path_factory) -> Run:
    make_corpus(request.param, data_dir)  # the users and items that `trained` has seen
    folder = tmp_path_factory.mktemp("t5x")
    start = str(folder / f"checkpoint_{START}")
    convert(trained[0].model_dir, start)
    made = Run(request.param, data_dir, start, folder / request.param)
    made.train(model_dir=made.model_dir)
    return made


@pytest.fixture
def own(run, experiment):
    """Makes the same experiment for the own engine."""
    return lambda **macros: experiment(FILES[run.name], **{**run.macros, **macros})


@pytest.fixture
def batches(own):
    """The first 20 batches of the mixture, as both engines read them."""
    made = own()
    stream = Stream.of(made.mixture_or_task_name, made.seed)
    rows = slice(0, made.batch_size)
    dataset = stream.batches(0, made.task_feature_lengths, made.batch_size, rows)
    return list(dataset.take(20).as_numpy_iterator())


def summed_losses(model_dir: pathlib.Path) -> np.ndarray:
    """T5X's loss of each step, from its TensorBoard files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    events = EventAccumulator(str(model_dir / "train"), size_guidance={"tensors": 0})
    events.Reload()
    losses = {e.step: tensor_util.make_ndarray(e.tensor_proto) for e in events.Tensors("loss")}
    return np.array([float(losses[step]) for step in sorted(losses)])


def own_losses_of(model_dir: str, batches: list) -> np.ndarray:
    """The own engine's, from its lines of metrics, which hold means over the target tokens."""
    lines = (pathlib.Path(model_dir) / "metrics.jsonl").read_text().splitlines()
    means = [line["loss"] for line in map(json.loads, lines) if line["kind"] == "train"]
    tokens = [np.count_nonzero(batch["targets"]) for batch in batches]
    return np.array(means) * np.array(tokens)


def inference_metrics(folder: pathlib.Path, task: str) -> dict[str, float]:
    lines = (folder / "inference_eval" / f"{task}-metrics.jsonl").read_text().splitlines()
    return {name: value for name, value in json.loads(lines[-1]).items() if name != "step"}


def test_the_own_engine_from_its_first_checkpoint_has_the_same_losses(run, own, batches):
    made = own(INITIAL_CHECKPOINT_PATH=str(run.model_dir / f"checkpoint_{START}"))
    train(made)
    assert {int(number) for batch in batches for number in batch["task"]} == set(range(5))
    np.testing.assert_allclose(
        own_losses_of(made.model_dir, batches), summed_losses(run.model_dir), rtol=2e-4
    )


def test_its_checkpoint_trains_on_in_the_own_engine(run, own, batches, tmp_path):
    converted = convert(
        str(run.model_dir / f"checkpoint_{HALF}"),
        str(tmp_path / "own"),
        destination_format="own",
        first_step=START,
    )
    assert converted.optimizer
    made = own(MODEL_DIR=str(tmp_path / "own"))
    train(made)
    np.testing.assert_allclose(
        own_losses_of(made.model_dir, batches[10:]), summed_losses(run.model_dir)[10:], rtol=2e-4
    )


def test_a_checkpoint_of_the_own_engine_trains_on_in_t5x(run, own, batches, tmp_path):
    made = own(TRAIN_STEPS=HALF)
    train(made)
    model_dir = tmp_path / "t5x"
    convert(made.model_dir, str(model_dir / f"checkpoint_{HALF}"))
    run.train("--gin.train.infer_eval_dataset_cfg=None", model_dir=model_dir)
    # And reads on where the checkpoint stands.
    params, _ = load_params(run.start, made.network)
    expected, _ = own_losses(made, params, batches)
    np.testing.assert_allclose(summed_losses(model_dir), expected[10:], rtol=2e-4)


def test_evaluation_with_each_decoder(run, own, tmp_path):
    checkpoint = str(run.model_dir / f"checkpoint_{END}")
    convert(checkpoint, str(tmp_path / "own"), destination_format="own")
    made = own(MODEL_DIR=str(tmp_path / "own"))
    measured = evaluation.evaluate(made, "validation", END)["tasks"]
    for task, name in zip(run.tasks, ("hr@5", "valid_candidate_rate", "auc_roc"), strict=True):
        assert 0 < measured[task][name] < 1  # the comparison is not of nothing
    run.t5x(
        "eval",
        files=["gin/runs/fast_decoding.gin", "gin/runs/eval.gin"],
        CHECKPOINT_PATH=checkpoint,
        TEST_SPLIT="validation",
        EVAL_OUTPUT_DIR=str(tmp_path / "fast"),
    )
    for task in run.tasks:
        stock, fast = (inference_metrics(at, task) for at in (run.model_dir, tmp_path / "fast"))
        assert stock == pytest.approx(fast, abs=1e-6)
        expected = {name: measured[task][name] for name in stock}
        assert stock == pytest.approx(expected, abs=1e-6), task


def test_inference_with_each_decoder(run, own, tmp_path):
    checkpoint = str(run.model_dir / f"checkpoint_{END}")
    inferred = {}
    for decoder in ("stock", "fast", "constrained"):
        added = [] if decoder == "stock" else [f"gin/runs/{decoder}_decoding.gin"]
        run.t5x(
            "infer",
            files=[*added, "gin/runs/infer.gin"],
            MIXTURE_OR_TASK_NAME=f"ut_{run.name}",
            CHECKPOINT_PATH=checkpoint,
            TEST_SPLIT="validation",
            INFER_OUTPUT_DIR=str(tmp_path / decoder),
        )
        for task in run.tasks:
            (written,) = (tmp_path / decoder).glob(f"{task}-predict_with_aux.jsonl*-of-00001")
            inferred[decoder, task] = list(map(json.loads, written.read_text().splitlines()))
    made = own()
    params, _ = load_params(checkpoint, made.network)
    for evaluated, records in own_evaluation(made, params, "validation"):
        for record in records:
            for decoder in ("stock", "fast"):
                line = inferred[decoder, evaluated.task.name][record["index"]]
                found = len(record["beams"])  # the rest of T5X's, the worst, are fillers
                assert line["prediction"][::-1] == record["beams"] + [""] * (BEAMS - found)
                scores = line["aux"]["scores"][::-1]
                np.testing.assert_allclose(scores[:found], record["scores"], atol=5e-5)
                assert all(score < -1e6 for score in scores[found:])
            example = evaluated.examples[record["index"]]
            line = inferred["constrained", evaluated.task.name][record["index"]]
            assert_allowed(set(line["prediction"]), evaluated.task, example)


def assert_allowed(answers: set[str], task: Any, example: Any) -> None:
    """A retrieval's beams are items; six hold a ranking's five candidates, a rating's two words."""
    ids = task.source.open().catalogue.ids
    match task.evaluated_as:
        case "retrieval":
            assert answers <= set(ids)
        case "ranking":
            assert answers >= {ids[item] for item in example["candidates"]}
        case "rating":
            assert answers >= {"yes", "no"}
