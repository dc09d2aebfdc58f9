"""What T5X makes of experiment files: the arguments of its programs, as its own gin evaluates them.

Run as a program, because T5X's run files bind functions of the program that runs (`__main__`). The
functions that would train, evaluate and infer hand back what they are given instead.
    python -m tests.t5x.resolve DATA_DIR <JOBS >SETTINGS
JOBS is JSON, {"job": [program, [gin files], [bindings]]}; SETTINGS {"job": {setting: value}}.
"""

import functools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gin
import seqio
import t5x.eval
import t5x.infer
import t5x.train
from t5x import gin_utils, utils

STEPS = (0, 1, 500, 999, 1000, 70_000)
"""Steps of fine-tuning whose learning rates are told."""


def recorder(function: Callable) -> Callable:
    """A configurable of this program that takes what `function` takes, and hands it back."""

    @functools.wraps(function)
    def record(**arguments: Any) -> dict[str, Any]:
        return arguments

    record.__module__ = "__main__"
    return gin.configurable(record)


train = recorder(t5x.train.train)
evaluate = recorder(t5x.eval.evaluate)
infer = recorder(t5x.infer.infer)
PROGRAMS = {"train": train, "eval": evaluate, "infer": infer}


def resolve(program: str, files: Sequence[str], bindings: Sequence[str]) -> dict[str, Any]:
    """The settings that a program would run with.

    gin refuses unknown names, parameters that are not there and macros that nobody bound; each
    argument is evaluated as far as T5X's own objects.
    """
    with gin.unlock_config():
        gin.clear_config()
        gin_utils.parse_gin_flags(t5x.train._DEFAULT_GIN_SEARCH_PATHS, files, bindings)
    arguments = PROGRAMS[program]()
    settings = {**model_of(arguments["model"]), **placing_of(arguments["partitioner"])}
    return settings | (training_of if program == "train" else inference_of)(arguments)


def model_of(model: Any) -> dict[str, Any]:
    """Network, loss, beams, and the learning rate after some steps of fine-tuning."""
    config = model.module.config
    sizes = ("vocab_size", "emb_dim", "num_heads", "num_encoder_layers", "num_decoder_layers")
    # AdamW counts steps from 0, and has no offset.
    first_step = getattr(model.optimizer_def.hyper_params, "step_offset", 0)
    schedule = gin.get_configurable(utils.create_learning_rate_scheduler)()
    return {
        "decoder": type(model).__name__,
        **{name: getattr(config, name) for name in (*sizes, "head_dim", "mlp_dim")},
        "dtype": str(config.dtype),
        "dropout_rate": config.dropout_rate,
        "z_loss": model._z_loss,
        "label_smoothing": model._label_smoothing,
        "loss_normalizing_factor": model._loss_normalizing_factor,
        "beam_size": model._default_decoder_params.num_decodes,
        "first_step": first_step,
        "learning_rates": {step: float(schedule(first_step + step)) for step in STEPS},
    }


def placing_of(partitioner: Any) -> dict[str, Any]:
    return {"num_partitions": partitioner._num_partitions}


def training_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What `t5x.train` reads, how long it trains, what it evaluates."""
    data, evaluated = arguments["train_dataset_cfg"], arguments["infer_eval_dataset_cfg"]
    assert not evaluated.pack
    assert data.mixture_or_task_name == evaluated.mixture_or_task_name
    restored, saved = arguments["checkpoint_cfg"].restore, arguments["checkpoint_cfg"].save
    return {
        "mixture_or_task_name": data.mixture_or_task_name,
        "task_feature_lengths": dict(data.task_feature_lengths),
        "input_length_of_evaluation": evaluated.task_feature_lengths["inputs"],
        "batch_size": data.batch_size,
        "pack": data.pack,
        "seed": data.seed,
        "train_steps": arguments["total_steps"],
        "eval_period": arguments["eval_period"],
        "eval_steps": arguments["eval_steps"],
        "start_weights": restored.path,
        "checkpoint_period": saved.period,
        "keep_checkpoints": saved.keep,
    }


def inference_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What `t5x.eval` and `t5x.infer` read."""
    data = arguments["dataset_cfg"]
    assert not data.pack
    return {
        "mixture_or_task_name": data.mixture_or_task_name,
        "input_length_of_evaluation": data.task_feature_lengths["inputs"],
        "batch_size": data.batch_size,
        "split": data.split,
        "start_weights": arguments["restore_checkpoint_cfg"].path,
    }


if __name__ == "__main__":
    seqio.set_tfds_data_dir_override(sys.argv[1])
    found = {name: resolve(*job) for name, job in json.load(sys.stdin).items()}
    json.dump(found, sys.stdout)
