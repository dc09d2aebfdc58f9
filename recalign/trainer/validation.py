"""Validation while training: the loss, the metrics of some examples, and the one that selects."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import seqio

from recalign.errors import UserError
from recalign.trainer import partitioning
from recalign.trainer.decoding import BeamDecoder, padded
from recalign.trainer.evaluation import Evaluated, beams_of_all, load, measure, tasks_with_metrics
from recalign.trainer.experiment import Experiment
from recalign.trainer.state import make_loss_sums
from recalign.trainer.writers import describe

_SPLIT = "validation"
# What selects a checkpoint, the first that there is: the paper selects by retrieval.
_SELECTING = (("retrieval", "hr@10"), ("ranking", "hr@10"), ("rating", "auc_roc"))


class Validation:
    """Validates parameters; examples are read once, when they are first needed."""

    def __init__(
        self, experiment: Experiment, tasks: Sequence[seqio.Task], mesh: jax.sharding.Mesh
    ):
        self._experiment = experiment
        self._mesh = mesh
        self._tasks = [task for task in tasks if _SPLIT in task.splits]
        self._decoder = BeamDecoder(experiment.network, mesh, experiment.beam_size)
        self._loss_sums = jax.jit(
            lambda params, batch: make_loss_sums(experiment.network)(params, batch, None)
        )
        if experiment.eval_period:
            partitioning.check_batch_size("EVAL_BATCH_SIZE", experiment.decode_batch_size, mesh)
            _check_names(experiment)

    def run(self, params: Any) -> tuple[dict[str, Any], float | None]:
        """Values for metrics.jsonl, and the one that the best checkpoint is chosen by."""
        loss, measured = self._loss(params), {}
        for evaluated in self._evaluated:
            records = beams_of_all(evaluated, params, self._decoder, self._experiment)
            measured[evaluated.task.name] = measure(evaluated, records)
        selection = self._selection(measured, loss)
        values = {"loss": loss, "tasks": measured or None, "selection": selection}
        return {name: it for name, it in values.items() if it is not None}, selection

    @staticmethod
    def describe(values: Mapping[str, Any]) -> str:
        parts = [f"loss {values['loss']:.4f}"] if "loss" in values else []
        parts += [f"{name}: {describe(found)}" for name, found in values.get("tasks", {}).items()]
        return " | ".join(parts)

    @functools.cached_property
    def _evaluated(self) -> list[Evaluated]:
        wanted = self._experiment.eval_tasks
        loaded = (
            load(task, _SPLIT, self._experiment, self._experiment.evaluator_num_examples)
            for task in tasks_with_metrics(self._experiment.mixture_or_task_name, _SPLIT)
            if wanted is None or task.name in wanted
        )
        return [evaluated for evaluated in loaded if evaluated.examples]

    @functools.cached_property
    def _loss_batches(self) -> list[dict[str, np.ndarray]]:
        return [batch for task in self._tasks for batch in self._batches(task)]

    def _loss(self, params: Any) -> float | None:
        """Mean over the target tokens of the first EVAL_STEPS batches of each task."""
        if not self._loss_batches:
            return None
        shard = functools.partial(partitioning.shard_whole, self._mesh)
        parts = [self._loss_sums(params, jax.tree.map(shard, it)) for it in self._loss_batches]
        sums = jax.tree.map(lambda *values: float(np.sum(values)), *jax.device_get(parts))
        return sums.loss / sums.tokens

    def _batches(self, task: seqio.Task) -> list[dict[str, np.ndarray]]:
        lengths = self._experiment.task_feature_lengths
        size = self._experiment.batch_size
        dataset = task.get_dataset(
            sequence_length=dict(lengths), split=_SPLIT, shuffle=False, num_epochs=1
        ).take(self._experiment.eval_steps * size)
        examples = list(dataset.as_numpy_iterator())
        together = [examples[start : start + size] for start in range(0, len(examples), size)]
        return [
            {name: padded([it[name] for it in batch], size, lengths[name]) for name in lengths}
            for batch in together
        ]

    def _selection(
        self, measured: Mapping[str, Mapping[str, float]], loss: float | None
    ) -> float | None:
        """Retrieval's HR@10, else another task's metric, else the loss turned round."""
        kinds = {evaluated.task.name: evaluated.kind for evaluated in self._evaluated}
        for kind, metric in _SELECTING:
            for name, found in measured.items():
                if kinds[name] == kind and np.isfinite(found.get(metric, np.nan)):
                    return found[metric]
        return None if loss is None else -loss


def _check_names(experiment: Experiment) -> None:
    if experiment.eval_tasks is None:
        return
    known = [task.name for task in tasks_with_metrics(experiment.mixture_or_task_name, _SPLIT)]
    for name in experiment.eval_tasks:
        if name not in known:
            raise UserError(
                f"EVAL_TASKS: {name!r} is not a task of {experiment.mixture_or_task_name} that can "
                f"be validated; those are {', '.join(known) or 'none'}"
            )
