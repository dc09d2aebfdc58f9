"""What comes before anything else of a run: its tasks registered, its vocabulary checked."""

import importlib
import logging
from collections.abc import Sequence

import seqio
import tensorflow as tf

import tasks
from recalign.baselines.priors import check_name
from recalign.data.vocabulary import check_vocab_size
from recalign.errors import UserError
from recalign.trainer.experiment import Experiment


def prepare(experiment: Experiment) -> None:
    """Registers the experiment's tasks; refuses a module, task or prior that is not there."""
    if tf.config.get_visible_devices("GPU"):
        tf.config.set_visible_devices([], "GPU")  # its memory is JAX's
    # Orbax and SeqIO log every checkpoint and every dataset, and errors that they raise as well; a
    # run says what it does itself.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    if module := experiment.mixture_or_task_module:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise UserError(f"MIXTURE_OR_TASK_MODULE = {module!r}: {error}") from error
    tasks.ensure_registered(experiment.mixture_or_task_name, experiment.surroundings.data_dir)
    if experiment.fusion_prior is not None:
        check_name(experiment.fusion_prior)


def check_vocabulary(experiment: Experiment, among: Sequence[seqio.Task]) -> None:
    """Refuses a model whose embedding is too small for the tasks' token ids."""
    for task in among:
        needed = task.output_features["inputs"].vocabulary.vocab_size
        check_vocab_size(experiment.model.vocab_size, task.name, needed)
