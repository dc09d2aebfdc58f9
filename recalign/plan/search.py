"""Which layouts make sense for an experiment on a slice, and which of them is the fastest."""

import heapq
import itertools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

from recalign.plan.programs import Layout, Sizes
from recalign.trainer.experiment import Experiment
from recalign.trainer.partitioning import spread_sizes

# Keep all; keep matrix products; keep the layers' inputs.
REMATS: tuple[bool | str, ...] = (False, "dots_with_no_batch_dims_saveable", True)
# Layouts that fit before the search ends at the latest: compiling one takes minutes.
_ENOUGH = 3
# The estimate of activations knows neither XLA's savings nor its padding: a layout is left out
# uncompiled only where the estimate is this much above the memory.
_SLACK = 1.1


class Tried(NamedTuple):
    """A layout and what became of it."""

    layout: Layout
    estimated: float | None  # seconds of a train step, by hand; None where it cannot fit
    seconds: float | None  # by what was compiled; None where it does not fit, or was not compiled
    reason: str  # why it does not fit, or how full the memory is


def search(
    experiment: Experiment,
    chips: int,
    available: int,
    sizes_of: Callable[[Layout], Sizes],
    estimated: Callable[[Layout], float],
    compiled: Callable[[Layout], tuple[float | None, str]],
    say: Callable[[str], None],
) -> list[Tried]:
    """Compiles layouts in the order of their estimated time until none promises a better one.

    Of one partitioning and rematerialisation, microbatches double until the step fits. What
    arithmetic shows to be too large is not compiled.

    `available` and `sizes_of` are bytes of a chip, `estimated` seconds of a train step, by hand;
    `compiled` gives its seconds, or None where it does not fit, and what the compiler says. Returns
    the fastest first, then those that do not fit, then those that were not compiled.
    """
    tried: list[Tried] = []
    waiting: list[tuple[float, int, Layout, Iterator[Layout]]] = []
    numbers = itertools.count()

    def next_of(layouts: Iterator[Layout]) -> None:
        for layout in layouts:
            held = sizes_of(layout)
            found = too_large(held, available)
            if not found:
                entry = (estimated(layout), next(numbers), layout, layouts)
                heapq.heappush(waiting, entry)
                return
            tried.append(Tried(layout, None, None, found))

    say("estimating")
    for partitions in partitionings(experiment, chips):
        leanest = Layout(partitions, 1, True)
        if found := _parameters_too_large(sizes_of(leanest), available):
            tried.append(Tried(leanest, None, None, found))
            continue
        for remat in REMATS:
            next_of(_microbatched(experiment, chips, partitions, remat))
    fitting: list[float] = []
    while waiting and len(fitting) < _ENOUGH and waiting[0][0] < min(fitting, default=math.inf):
        seconds, _, layout, others = heapq.heappop(waiting)
        say(
            f"{', '.join(layout.gin())}: {seconds * 1e3:,.0f} ms estimated, "
            f"the best of {len(waiting) + 1} that may fit"
        )
        result = Tried(layout, seconds, *compiled(layout))
        tried.append(result)
        if result.seconds is None:
            next_of(others)
        else:
            fitting.append(result.seconds)
    tried += [
        Tried(layout, seconds, None, "not compiled: slower, as estimated")
        for seconds, _, layout, _ in sorted(waiting)
    ]
    return sorted(tried, key=_order)


def _order(one: Tried) -> tuple[bool, float, bool]:
    seconds = one.seconds or one.estimated or math.inf
    return one.seconds is None, seconds, one.estimated is None


def partitionings(experiment: Experiment, chips: int) -> list[int]:
    """NUM_PARTITIONS that divide the chips, the batches, and all that partitions can share out.

    A partition without a head of its own would hold what the others hold.
    """
    spread = spread_sizes(experiment.network.params_shape())
    return [
        number
        for number in range(1, chips + 1)
        if chips % number == 0
        and all(size % number == 0 for size in spread)
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


def _parameters_too_large(sizes: Sizes, available: int) -> str:
    """Why it cannot fit, whatever is done about activations; or nothing."""
    held = sizes.parameters + sizes.optimizer + sizes.gradients
    if held <= available:
        return ""
    return (
        f"parameters, their gradients and the optimizer's state alone take {held / 2**30:.2f} GiB "
        f"of {available / 2**30:.2f}"
    )


def too_large(sizes: Sizes, available: int) -> str:
    """Why it is not worth compiling, or nothing."""
    if found := _parameters_too_large(sizes, available):
        return found
    total = sizes.parameters + sizes.optimizer + sizes.gradients + sizes.activations
    if total <= _SLACK * available:
        return ""
    return f"not compiled: {total / 2**30:.1f} GiB, as estimated, of {available / 2**30:.2f}"
