"""A train step's time by hand: which layout is worth the minutes that compiling it takes."""

import dataclasses
from collections.abc import Callable

from recalign.model.t5.config import T5Config
from recalign.plan.chips import Slice
from recalign.plan.programs import Layout, Sizes
from recalign.plan.roofline import Roofline
from recalign.trainer.experiment import Experiment

# Passes over the float32 parameters in an update: gradients, parameters and their changes.
_UPDATE_PASSES = 6
# Over the weights in the activations' type: forward, and for both gradients backward.
_WEIGHT_PASSES = 3
_KEPT_PASSES = 2  # over activations: written, and read backward; much the same if made again


def estimable(experiment: Experiment) -> bool:
    """Whether the sums over partitions are known: those of T5 alone."""
    return isinstance(experiment.network, T5Config)


def estimate(
    experiment: Experiment,
    layout: Layout,
    where: Slice,
    flops: float,
    sizes_of: Callable[[Layout], Sizes],
) -> Roofline:
    """What the roofline will say of the compiled step, within a tenth for XL.

    `flops` and `sizes_of` are of a chip.
    """
    parts, width = layout.microbatches, experiment.network.activation_dtype.itemsize
    parameters = sizes_of(layout).parameters
    weights = parameters * width / 4
    kept = sizes_of(dataclasses.replace(layout, remat=False)).activations * parts
    through_memory = (
        _UPDATE_PASSES * parameters + _WEIGHT_PASSES * parts * weights + _KEPT_PASSES * kept
    )
    copies = where.chips // layout.num_partitions
    over_links = (
        _ring(layout.num_partitions) * _summed_over_partitions(experiment, layout, copies)
        # Each microbatch's gradients are summed over the copies, in the activations' type.
        + _ring(copies) * parts * weights
    )
    return Roofline(
        compute_seconds=flops / where.chip.flops,
        memory_seconds=through_memory / where.chip.hbm_bandwidth,
        link_seconds=over_links / where.ring_bandwidth,
    )


def _summed_over_partitions(experiment: Experiment, layout: Layout, copies: int) -> float:
    """Bytes of the arrays that the partitions of a copy add up.

    They are those of the residual stream: each block's output, and backward the gradient of its
    input, one more a decoder layer for the encoder's output. Rematerialised layers add up the
    attention's output again.
    """
    config = experiment.network
    assert isinstance(config, T5Config), "estimable() was asked"
    again = layout.remat is True
    rows = experiment.batch_size / copies
    inputs = rows * experiment.task_feature_lengths["inputs"]
    targets = rows * experiment.task_feature_lengths["targets"]
    tokens = config.num_encoder_layers * (4 + again) * inputs
    tokens += config.num_decoder_layers * ((6 + 2 * again) * targets + inputs)
    return tokens * config.emb_dim * config.activation_dtype.itemsize


def _ring(members: int) -> float:
    """How often an array is sent in an all-reduce over a ring."""
    return 2 * (members - 1) / members
