"""T5X's own programs on the experiment's files, and the own engine from where they stopped."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from recalign.preprocessors.stream import Stream
from recalign.trainer import evaluation, partitioning
from recalign.trainer.decoding import BeamDecoder
from recalign.trainer.loop import train
from recalign.weights import convert, load_params

from .conftest import FILES, TINY
from .test_engines import own_losses

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = 16
MACROS = {
    **TINY,
    "MIXTURE_OR_TASK_NAME": "retrieval_tiny",
    "CHECKPOINT_PERIOD": 10,
    "KEEP_CHECKPOINTS": 3,  # of steps 0, 10 and 20
}
RUN = ("--gin.train.stats_period=1", "--gin.EVAL_STEPS=1", "--gin.EVAL_PERIOD=20")


def t5x(program: str, data_dir: str, *arguments: str, files=FILES, **macros) -> None:
    """python -m t5x.PROGRAM from the repository's root."""
    given = [f"--gin.{name}={value!r}" for name, value in {**MACROS, **macros}.items()]
    outcome = subprocess.run(
        [
            *(sys.executable, "-m", f"t5x.{program}"),
            *(f"--gin_file={file}" for file in files),
            *given,
            *arguments,
            f"--tfds_data_dir={data_dir}",
        ],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stderr[-3000:]


def summed_losses(model_dir: pathlib.Path) -> dict[int, float]:
    """T5X's loss of each step, from its TensorBoard files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    events = EventAccumulator(str(model_dir / "train"), size_guidance={"tensors": 0})
    events.Reload()
    return {e.step: float(tensor_util.make_ndarray(e.tensor_proto)) for e in events.Tensors("loss")}


def own_mean_losses(model_dir: pathlib.Path) -> dict[int, float]:
    lines = map(json.loads, (model_dir / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["loss"] for line in lines if line["kind"] == "train"}


def inference_metrics(folder: pathlib.Path, task: str) -> dict[str, float]:
    lines = (folder / "inference_eval" / f"{task}-metrics.jsonl").read_text().splitlines()
    return {name: value for name, value in json.loads(lines[-1]).items() if name != "step"}


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory) -> pathlib.Path:
    """MODEL_DIR of 20 steps by T5X with its own decoder; checkpoints at 0, 10 and 20."""
    model_dir = tmp_path_factory.mktemp("t5x") / "run"
    t5x("train", data_dir, *RUN, MODEL_DIR=str(model_dir), EVALUATOR_NUM_EXAMPLES=EXAMPLES)
    return model_dir


@pytest.fixture(scope="module")
def batches(experiment):
    """The first 20 batches of the task, as both engines read them."""
    made = experiment(**MACROS)
    stream = Stream.of(made.mixture_or_task_name, made.seed)
    rows = slice(0, made.batch_size)
    dataset = stream.batches(0, made.task_feature_lengths, made.batch_size, rows)
    return list(dataset.take(20).as_numpy_iterator())


def target_tokens(batches) -> np.ndarray:
    return np.array([np.count_nonzero(batch["targets"]) for batch in batches])


def test_the_own_engine_from_its_first_checkpoint_has_the_same_losses(run, experiment, batches):
    made = experiment(**MACROS, INITIAL_CHECKPOINT_PATH=str(run / "checkpoint_0"))
    train(made)
    own, theirs = own_mean_losses(pathlib.Path(made.model_dir)), summed_losses(run)
    assert sorted(own) == list(range(1, 21))
    theirs_N = np.array([theirs[step] for step in sorted(theirs)][:20])
    own_N = np.array([own[step] for step in range(1, 21)]) * target_tokens(batches)
    np.testing.assert_allclose(own_N, theirs_N, rtol=2e-4)


def test_its_checkpoint_trains_on_in_the_own_engine(run, experiment, batches, tmp_path):
    model_dir = tmp_path / "own"
    converted = convert(str(run / "checkpoint_10"), str(model_dir), destination_format="own")
    assert converted.optimizer
    made = experiment(**{**MACROS, "MODEL_DIR": str(model_dir)})
    train(made)
    own, theirs = own_mean_losses(model_dir), summed_losses(run)
    assert sorted(own) == list(range(11, 21))
    own_N = np.array([own[step] for step in range(11, 21)]) * target_tokens(batches[10:])
    theirs_N = np.array([theirs[step] for step in sorted(theirs)][10:20])
    np.testing.assert_allclose(own_N, theirs_N, rtol=2e-4)


def test_a_checkpoint_of_the_own_engine_trains_on_in_t5x(
    run, experiment, batches, data_dir, tmp_path
):
    made = experiment(
        **{**MACROS, "TRAIN_STEPS": 10}, INITIAL_CHECKPOINT_PATH=str(run / "checkpoint_0")
    )
    train(made)
    model_dir = tmp_path / "t5x"
    convert(made.model_dir, str(model_dir / "checkpoint_10"))
    t5x(
        "train",
        data_dir,
        *RUN,
        "--gin.train.infer_eval_dataset_cfg=None",
        MODEL_DIR=str(model_dir),
    )
    theirs = summed_losses(model_dir)
    # T5X reads its data from the beginning when it starts again.
    params, _ = load_params(str(run / "checkpoint_0"), made.config)
    expected, _ = own_losses(made, params, [*batches[:10], *batches[:10]])
    theirs_N = np.array([theirs[step] for step in sorted(theirs)][-10:])
    np.testing.assert_allclose(theirs_N, expected[10:], rtol=2e-4)


def test_evaluation_and_inference_with_each_decoder(run, experiment, data_dir, tmp_path):
    made = experiment(**MACROS)
    params, step = load_params(str(run / "checkpoint_20"), made.config)
    assert step == 20
    (task,) = evaluation.tasks_with_metrics("retrieval_tiny", "validation")
    decoder = BeamDecoder(made.config, partitioning.make_mesh(), made.beam_size)
    evaluated = evaluation.load(task, "validation", made, EXAMPLES)
    records = evaluation.beams_of_all(evaluated, params, decoder, made)
    own = evaluation.measure(evaluated, records)
    assert inference_metrics(run, "retrieval_tiny") == pytest.approx(own, abs=1e-6)

    common = {"CHECKPOINT_PATH": str(run / "checkpoint_20"), "TEST_SPLIT": "validation"}
    t5x(
        "eval",
        data_dir,
        f"--gin.seqio.Evaluator.num_examples={EXAMPLES}",
        files=[*FILES, "gin/runs/fast_decoding.gin", "gin/runs/eval.gin"],
        EVAL_OUTPUT_DIR=str(tmp_path / "fast"),
        **common,
    )
    assert inference_metrics(tmp_path / "fast", "retrieval_tiny") == pytest.approx(own, abs=1e-6)

    t5x(
        "infer",
        data_dir,
        files=[*FILES, "gin/runs/constrained_decoding.gin", "gin/runs/infer.gin"],
        INFER_OUTPUT_DIR=str(tmp_path / "constrained"),
        **common,
    )
    (written,) = (tmp_path / "constrained").glob("retrieval_tiny-predict_with_aux.jsonl*-of-00001")
    lines = [json.loads(line) for line in written.read_text().splitlines()]
    ids = set(task.source.open().catalogue.ids)
    assert len(lines) == len(evaluation.load(task, "validation", made, None).examples)
    assert all(set(line["prediction"]) <= ids for line in lines)
