"""From what a program computes and moves to the least time that it takes on a slice."""

import dataclasses

from recalign.plan.chips import Slice
from recalign.plan.compilation import Compiled

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
