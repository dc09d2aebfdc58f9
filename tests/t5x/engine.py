"""T5X as an experiment sets it up, by its own classes: a model, a partitioner, a train state."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import seqio
from flax.core import freeze, unfreeze
from t5x import adafactor, eval, models, partitioning, train_state, trainer, utils
from t5x.examples.t5 import network

from recalign.model.t5.sizes import SIZES
from recalign.t5x.constrained import ConstrainedDecodingModel
from recalign.t5x.fast import FastDecodingModel
from recalign.t5x.mixture import decode_lengths, vocabulary
from recalign.t5x.optimizer import named
from recalign.trainer.experiment import Experiment
from tests.t5x_names import to_t5x


def schedule_of(experiment: Experiment) -> Any:
    """T5X's learning rate, from the macros that both engines read."""
    return utils.create_learning_rate_scheduler(
        factors=experiment.learning_rate_factors,
        base_learning_rate=experiment.learning_rate,
        warmup_steps=experiment.warmup_steps,
        decay_factor=experiment.decay_factor,
        steps_per_cycle=experiment.steps_per_cycle,
        step_offset=experiment.initial_step,
    )


def model_of(experiment: Experiment, decoder: str = "stock") -> models.EncoderDecoderModel:
    """The model that the experiment's gin files give T5X, with one of the three decoders."""
    words = vocabulary(experiment.mixture_or_task_name)
    sizes = {name: getattr(experiment.model, name) for name in (*SIZES, "logits_via_embedding")}
    stock = models.EncoderDecoderModel(
        module=network.Transformer(
            network.T5Config(
                **sizes,
                dtype=experiment.model.dtype,
                mlp_activations=("gelu", "linear"),
                dropout_rate=experiment.dropout_rate,
            )
        ),
        input_vocabulary=words,
        output_vocabulary=words,
        optimizer_def=named(
            experiment.optimizer_name,
            adafactor.Adafactor(
                decay_rate=0.8,
                step_offset=experiment.initial_step,
                logical_factor_rules=adafactor.standard_logical_factor_rules(),
            ),
            schedule_of(experiment),
            experiment.adam_beta1,
            experiment.adam_beta2,
            experiment.adam_epsilon,
            experiment.weight_decay,
        ),
        z_loss=experiment.z_loss,
        label_smoothing=experiment.label_smoothing,
        loss_normalizing_factor=experiment.loss_normalizing_factor,
        default_decoder_params=models.DecoderParams(
            num_decodes=experiment.beam_size, return_all_decodes=True
        ),
    )
    match decoder:
        case "fast":
            return FastDecodingModel(stock)
        case "constrained":
            return ConstrainedDecodingModel(stock, experiment.mixture_or_task_name)
    return stock


def batch_of(inputs_BxL: np.ndarray, targets_BxT: np.ndarray) -> dict[str, np.ndarray]:
    """Model features of padded inputs and targets."""
    return {
        "encoder_input_tokens": inputs_BxL.astype(np.int32),
        "decoder_target_tokens": targets_BxT.astype(np.int32),
        "decoder_input_tokens": np.pad(targets_BxT[:, :-1], ((0, 0), (1, 0))).astype(np.int32),
        "decoder_loss_weights": (targets_BxT > 0).astype(np.int32),
    }


class T5X:
    """One model, its partitioner, and the state that holds the given parameters."""

    def __init__(self, experiment: Experiment, params: Any, decoder: str = "stock"):
        """Args: `params` in recalign's names."""
        self.experiment = experiment
        self.model = model_of(experiment, decoder)
        self.partitioner = partitioning.PjitPartitioner(num_partitions=1)
        lengths = experiment.task_feature_lengths
        rows = (
            (experiment.batch_size, lengths["inputs"]),
            (experiment.batch_size, lengths["targets"]),
        )
        names = ("encoder_input_tokens", "decoder_input_tokens")
        initializer = utils.TrainStateInitializer(
            optimizer_def=self.model.optimizer_def,
            init_fn=self.model.get_initial_variables,
            input_shapes=dict(zip(names, rows, strict=True)),
            input_types=dict.fromkeys(names, jnp.int32),
            partitioner=self.partitioner,
        )
        self.axes = initializer.train_state_axes
        fresh = initializer.from_scratch(jax.random.PRNGKey(0))
        placed = jax.tree.map(
            lambda new, old: jax.device_put(np.asarray(new), old.sharding),
            to_t5x(params),
            unfreeze(fresh.params),
        )
        self.state: train_state.TrainState = fresh.replace_params(freeze(placed))

    def losses(self, batches: list[dict[str, np.ndarray]], model_dir: str) -> list[float]:
        """The summed loss of each step of training on these batches."""
        experiment = self.experiment
        run = trainer.Trainer(
            model=self.model,
            train_state=self.state,
            partitioner=self.partitioner,
            eval_names=[],
            summary_dir=model_dir,
            train_state_axes=self.axes,
            rng=jax.random.PRNGKey(0),
            learning_rate_fn=schedule_of(experiment),
            num_microbatches=None,
        )
        losses = []
        for step, batch in enumerate(batches):
            summary = run.train(iter([batch]), 1, start_step=step).result()
            losses.append(float(summary["loss"].value))
        self.state = run.train_state
        run.close()
        return losses

    def metrics(self, split: str, num_examples: int) -> dict[str, dict[str, float]]:
        """Each task's metrics by T5X's inference evaluation."""
        experiment = self.experiment
        evaluator = eval.InferenceEvaluator(
            infer_eval_dataset_cfg=utils.DatasetConfig(
                mixture_or_task_name=experiment.mixture_or_task_name,
                task_feature_lengths=decode_lengths(
                    experiment.mixture_or_task_name, experiment.task_feature_lengths
                ),
                split=split,
                batch_size=experiment.batch_size,
                shuffle=False,
                seed=0,
                pack=False,
            ),
            inference_evaluator_cls=functools.partial(seqio.Evaluator, num_examples=num_examples),
            model=self.model,
            partitioner=self.partitioner,
        )
        measured = evaluator.evaluate(self.state, self.axes).result()
        evaluator.close()
        return {task: dict(values) for task, values in measured.items()}
