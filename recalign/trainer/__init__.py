"""The project's own engine: experiments, training, evaluation and recommending."""

from recalign.trainer.evaluation import evaluate
from recalign.trainer.experiment import Experiment, load_experiment
from recalign.trainer.loop import train

__all__ = ["Experiment", "evaluate", "load_experiment", "train"]
