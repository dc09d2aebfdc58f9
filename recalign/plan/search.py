"""Which layouts make sense for an experiment on a slice, and which of them is the fastest."""

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

from recalign.plan.programs import Layout, Sizes
from recalign.trainer.experiment import Experiment

# From the fastest to the leanest: keep all; keep matrix products; keep the layers' inputs.
REMATS: tuple[bool | str, ...] = (False, "dots_with_no_batch_dims_saveable", True)
# Partitionings that fit before the search ends: more partitions only move more over the links.
_ENOUGH = 2
# The estimate of activations knows neither XLA's savings nor its padding: a layout is left out
# uncompiled only where the estimate is this much above the memory.
_SLACK = 1.2


class Tried(NamedTuple):
    """A layout and what became of it."""

    layout: Layout
    seconds: float | None  # of a train step; None where it does not fit
    reason: str  # why it does not fit, or how full the memory is


def search(
    experiment: Experiment,
    chips: int,
    available: int,
    sizes_of: Callable[[Layout], Sizes],
    compiled: Callable[[Layout], Tried],
    say: Callable[[str], None],
) -> list[Tried]:
    """Tries layouts, the fastest of each kind first; the best that fits leads the list.

    Of one partitioning and rematerialisation, microbatches double until the step fits. What the
    arithmetic alone shows to be too large is not compiled.
    """
    tried: list[Tried] = []
    fitting: set[int] = set()
    for partitions, remat in itertools.product(partitionings(experiment, chips), REMATS):
        if len(fitting - {partitions}) >= _ENOUGH:
            break
        for layout in _microbatched(experiment, chips, partitions, remat):
            found = _too_large(sizes_of(layout), available)
            result = Tried(layout, None, found) if found else compiled(layout)
            say(f"{', '.join(layout.gin())}: {result.reason}")
            tried.append(result)
            if result.seconds is not None:
                fitting.add(partitions)
                break
            if found.startswith("parameters"):
                break
    return sorted(tried, key=lambda one: (one.seconds is None, one.seconds or 0.0))


def partitionings(experiment: Experiment, chips: int) -> list[int]:
    """NUM_PARTITIONS that divide the chips, the heads and the hidden units, and the batches.

    A partition without a head of its own would hold what the others hold.
    """
    model = experiment.model
    return [
        number
        for number in range(1, chips + 1)
        if chips % number == 0
        and model.num_heads % number == 0
        and model.mlp_dim % number == 0
        and experiment.batch_size % (chips // number) == 0
        and experiment.decode_batch_size % (chips // number) == 0
    ]


def _microbatched(
    experiment: Experiment, chips: int, partitions: int, remat: bool | str
) -> Iterator[Layout]:
    examples = experiment.batch_size // (chips // partitions)
    microbatches = 1
    while examples % microbatches == 0:
        yield Layout(partitions, microbatches, remat)
        microbatches *= 2


def _too_large(sizes: Sizes, available: int) -> str:
    """Why it cannot fit, or nothing."""
    held = sizes.parameters + sizes.optimizer + sizes.gradients
    if held > available:
        return (
            f"parameters, their gradients and the optimizer's state alone take "
            f"{held / 2**30:.2f} GiB of {available / 2**30:.2f}"
        )
    if held + sizes.activations > _SLACK * available:
        return (
            f"not compiled: an estimate of {(held + sizes.activations) / 2**30:.1f} GiB is far "
            f"above {available / 2**30:.2f}"
        )
    return ""
