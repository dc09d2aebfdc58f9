"""Which task of a run next items are asked by, and its prompt for any history."""

from collections.abc import Callable

import numpy as np
import seqio
import tensorflow as tf
from jaxtyping import Int

from recalign.errors import UserError
from recalign.preprocessors.samples import Samples
from recalign.preprocessors.task import RecommendationTask

# The tasks to ask by, the first before the others.
_KINDS = ("retrieval", "tiger", "p5_sequential")


def history_task(mixture_or_task_name: str) -> RecommendationTask:
    """The task of a run that next items are asked by: it answers a history with an item's ID.

    Of several it is the one whose kind comes first in `retrieval`, `tiger`, `p5_sequential`, and
    else the first of the mixture; a UserError where there is none.
    """
    provider = seqio.get_mixture_or_task(mixture_or_task_name)
    tasks = [task for task in seqio.get_subtasks(provider) if _asks_by_history(task)]
    if not tasks:
        raise UserError(
            f"the run was trained on {mixture_or_task_name}, which has no task to recommend by: "
            'one with evaluated_as="retrieval" whose prompt shows the history'
        )
    order = {kind: place for place, kind in enumerate(_KINDS)}
    return min(tasks, key=lambda task: order.get(task.kind, len(order)))


def _asks_by_history(task: seqio.Task) -> bool:
    """Whether a history and its user are all that the task's prompt needs."""
    if not isinstance(task, RecommendationTask) or task.evaluated_as != "retrieval":
        return False
    known = {"history", "row"}
    for step in task.recipe.preprocessors[1:]:
        if known.issuperset(step.needs):
            known |= step.makes.keys()
    fields = _shown(task)
    return "history" in fields and known.issuperset(fields)


def names_users(task: RecommendationTask) -> bool:
    """Whether the task's prompt says whom the history is of."""
    return "row" in _shown(task)


def _shown(task: RecommendationTask) -> set[str]:
    templates = task.recipe.templates("test")
    return {field.name for template in templates for field in template.fields("inputs")}


def prompts_of(
    samples: Samples,
) -> Callable[[Int[np.ndarray, "Q W"], Int[np.ndarray, " Q"]], list[Int[np.ndarray, " n"]]]:
    """Makes the tokens of prompts out of histories' windows and users' rows.

    One graph, traced once: as single operations a prompt would take longer than its decoding.
    """
    width = samples.settings.history_length
    signature = [tf.TensorSpec([None, width], tf.int32), tf.TensorSpec([None], tf.int64)]

    @tf.function(input_signature=signature, autograph=False)
    def prompts(history_QxW: tf.Tensor, row_Q: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        inputs = samples.of_histories(history_QxW, row_Q)["inputs"]
        return inputs.values, inputs.row_splits

    def of_histories(
        history_QxW: Int[np.ndarray, "Q W"], row_Q: Int[np.ndarray, " Q"]
    ) -> list[Int[np.ndarray, " n"]]:
        values, row_splits = prompts(tf.constant(history_QxW), tf.constant(row_Q))
        return np.split(values.numpy(), row_splits.numpy()[1:-1])

    return of_histories
