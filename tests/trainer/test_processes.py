"""Several processes train and evaluate as one does: real ones, joined as srun would join them."""

import functools
import json

import jax
import numpy as np
import pytest

from recalign.trainer import partitioning
from recalign.trainer.checkpoints import Checkpoints
from recalign.trainer.experiment import load_experiment
from recalign.trainer.loop import train as train_here
from recalign.trainer.state import sharded_params_shape
from tests.trainer import processes, reading_run
from tests.trainer.conftest import FILES, TWO_TASKS, bindings, without_times

# Sums over devices come in another order: float32 rounds them another way.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory):
    """(experiment, what was read) of a run by so many processes; each is made once."""
    made = {}

    def train(count, **macros):
        key = (count, *macros.items())
        if key not in made:
            folder = tmp_path_factory.mktemp("processes")
            given = {"MODEL_DIR": str(folder / "run"), "DATA_DIR": data_dir, **TWO_TASKS, **macros}
            experiment = load_experiment(FILES, bindings(**given))
            if count == 1:
                read = [reading_run.noted(lambda: train_here(experiment))]
            else:
                reading = ["tests.trainer.reading_run", str(folder)]
                processes.run(bindings(**given), folder, count, reading)
                read = [np.load(folder / f"read_{number}.npy") for number in range(count)]
            made[key] = experiment, read
        return made[key]

    return train


def params_of(experiment):
    shape = sharded_params_shape(experiment.network, partitioning.make_mesh())
    return Checkpoints(experiment.directory, read_only=True).restore_params("last", shape)


def lines_of(experiment):
    text = (experiment.directory / "metrics.jsonl").read_text()
    return without_times(map(json.loads, text.splitlines()))


def assert_trained_alike(found, expected):
    (experiment, read), (one, (whole,)) = found, expected
    # Each example of a batch is read once, and in its place.
    np.testing.assert_array_equal(np.concatenate(read, axis=1), whole)
    assert len({len(part[0]) for part in read}) == 1
    for line, expected_line in zip(lines_of(experiment), lines_of(one), strict=True):
        assert line.get("examples") == expected_line.get("examples")
        np.testing.assert_allclose(line["loss"], expected_line["loss"], rtol=TOLERANCE)
    (step, params), (expected_step, expected_params) = params_of(experiment), params_of(one)
    assert step == expected_step == one.train_steps
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, atol=TOLERANCE, rtol=0),
        params,
        expected_params,
    )


def result_of(found):
    """Its results; how many devices gave them is what differs."""
    results = json.loads((found[0].directory / "results.json").read_text())
    assert results.pop("device")["kind"] == "cpu"
    return results


def predictions_of(found, task):
    text = (found[0].directory / "predictions" / f"{task}-test.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_two_processes_train_as_one(trained):
    few = {"TRAIN_STEPS": 4, "CHECKPOINT_PERIOD": 2}
    assert_trained_alike(trained(2, **few), trained(1, **few))


EVALUATED = {
    "TRAIN_STEPS": 20,
    "MIXTURE_OR_TASK_NAME": "ut_tiny",
    "EVAL_PERIOD": 10,
    "EVAL_TASKS": ("retrieval_tiny",),
    "TEST_SPLIT": "test",
}


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_several_processes_train_and_evaluate_as_one(trained, count):
    found, expected = trained(count, **EVALUATED), trained(1, **EVALUATED)
    assert_trained_alike(found, expected)
    assert result_of(found) == result_of(expected)
    for task in result_of(expected)["tasks"]:
        records, of_one = predictions_of(found, task), predictions_of(expected, task)
        # Each is written once.
        assert [record["index"] for record in records] == list(range(len(of_one)))
        assert [record["beams"] for record in records] == [record["beams"] for record in of_one]
