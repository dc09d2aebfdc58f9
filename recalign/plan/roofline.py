"""From what a program computes and moves to the least time that it takes on a slice.

Of a train step also by hand: which layout is worth the minutes that compiling it takes.
"""

import dataclasses
from collections.abc import Callable

from recalign.model.t5.config import T5Config
from recalign.plan.chips import Slice
from recalign.plan.compilation import Compiled
from recalign.plan.programs import Layout, Sizes
from recalign.trainer.experiment import Experiment

ASSUMPTIONS = (
    "Memory is XLA's own count for the compiled programs, which are those that the own engine "
    "runs; T5X's network is another program.",
    "Peak figures are Google's for a chip: bfloat16 operations, and HBM bandwidth; a real step "
    "reaches a part of them, so expect more hours and chip-hours than these. There are no prices "
    "here.",
    "A step takes the longer of its arithmetic and its memory traffic, and then its traffic over "
    "the links: nothing of that is hidden behind arithmetic, though XLA hides some.",
    "Operations are those of matrix products, dropout and softmax left out, the rematerialised "
    "ones counted; loops count every turn, beam search as if every example needed all tokens and "
    "any token could follow.",
    "A collective uses both directions of one dimension of the torus, half where a side is too "
    "short to close (below 16 for v5e and v6e, 4 for v4 and v5p).",
    "Reading data, validation, checkpoints and start-up are not in the hours.",
)
# Passes over the float32 parameters in an update: gradients, parameters and their changes.
_UPDATE_PASSES = 6
# Over the weights in the activations' type: forward, and for both gradients backward.
_WEIGHT_PASSES = 3
_KEPT_PASSES = 2  # over activations: written, and read backward; much the same if made again


@dataclasses.dataclass(frozen=True)
class Roofline:
    """Seconds of one run of a program on its slice, each part alone at its peak."""

    compute_seconds: float
    memory_seconds: float
    link_seconds: float

    @property
    def seconds(self) -> float:
        """The longer of the first two, and the third."""
        return max(self.compute_seconds, self.memory_seconds) + self.link_seconds

    @property
    def utilisation(self) -> float:
        """The share of the peak operations a second that this reaches."""
        return self.compute_seconds / self.seconds

    @property
    def bound(self) -> str:
        alone = {
            "arithmetic": self.compute_seconds,
            "memory": self.memory_seconds,
            "links": self.link_seconds,
        }
        return max(alone, key=lambda name: alone[name])


def roofline(program: Compiled, where: Slice) -> Roofline | None:
    """None for a program that does not fit."""
    if program.memory_bytes is None or program.link_bytes is None:
        return None
    return Roofline(
        compute_seconds=program.flops / where.chip.flops,
        memory_seconds=program.memory_bytes / where.chip.hbm_bandwidth,
        link_seconds=program.link_bytes / where.ring_bandwidth,
    )


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
