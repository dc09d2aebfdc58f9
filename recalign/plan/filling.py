"""How much of its rows an experiment's examples fill, and which packed rows hold as many of them.

A step's cost is that of its places, whether tokens fill them or padding does.
"""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from recalign.errors import UserError
from recalign.preprocessors.packed_stream import WINDOW, PackedStream
from recalign.preprocessors.packing import rows_needed
from recalign.preprocessors.stream import TOKENS, Stream
from recalign.trainer import setup
from recalign.trainer.experiment import Experiment

_WINDOWS = 4
_TILE = {"inputs": 128, "targets": 32}  # the steps of the lengths that are looked at
_TALLEST = 2  # times the experiment's own lengths


@dataclasses.dataclass(frozen=True)
class Rows:
    """Of a step."""

    packed: bool  # whether several examples share a row
    rows: int  # BATCH_SIZE
    lengths: Mapping[str, int]  # TASK_FEATURE_LENGTHS
    examples: float  # that a step holds on average

    @property
    def places(self) -> int:
        """Input and target tokens that a step has room for."""
        return self.rows * sum(self.lengths.values())

    def gin(self) -> list[str]:
        return [
            f"PACK = {self.packed}",
            f"BATCH_SIZE = {self.rows}",
            f"TASK_FEATURE_LENGTHS = {dict(self.lengths)}",
        ]


@dataclasses.dataclass(frozen=True)
class Filling:
    """The lengths of the first examples of an experiment's stream."""

    # A mapping a window: the tokens of each example, int64 [2048] for each of TOKENS.
    sizes: tuple[Mapping[str, np.ndarray], ...]
    lengths: Mapping[str, int]  # the experiment's own TASK_FEATURE_LENGTHS

    @property
    def tokens(self) -> dict[str, float]:
        """Of an example, on average."""
        return {name: float(np.mean([size[name] for size in self.sizes])) for name in TOKENS}

    @property
    def shares(self) -> dict[str, float]:
        """Of an example's own row that its tokens fill, on average."""
        return {name: self.tokens[name] / self.lengths[name] for name in TOKENS}

    def packed(self, rows: int, lengths: Mapping[str, int]) -> Rows:
        """So many rows of these lengths."""
        needed = [rows_needed(size, lengths) for size in self.sizes]
        return Rows(True, rows, lengths, rows * WINDOW / PackedStream.rows_of(needed))

    def unpacked(self, rows: int) -> Rows:
        """So many rows of an example each, no taller than the longest examples need."""
        lengths = {}
        for name in TOKENS:
            longest = max(int(size[name].max()) for size in self.sizes)
            lengths[name] = min(self.lengths[name], _TILE[name] * math.ceil(longest / _TILE[name]))
        return Rows(False, rows, lengths, float(rows))

    def recommended(self, examples: int, copies: int) -> Rows:
        """The rows of the fewest places that hold at least so many examples a step on average.

        Their number is a multiple of `copies`.
        """
        found = []
        tile, short = _TILE["inputs"], _TILE["targets"]
        for length in range(self.lengths["inputs"], _TALLEST * self.lengths["inputs"] + 1, tile):
            needed = length * self.tokens["targets"] / self.tokens["inputs"]
            # A tile more than a row's share, and never less than an example may have.
            targets = max(self.lengths["targets"], short * (1 + -(-int(needed) // short)))
            lengths = {"inputs": length, "targets": targets}
            of_one = self.packed(1, lengths).examples
            rows = copies * math.ceil(examples / (of_one * copies))
            found.append(self.packed(rows, lengths))
        return min(found, key=lambda it: it.places)


def measure(experiment: Experiment) -> Filling:
    """Reads the first 8,192 examples; a UserError where the dataset is not prepared here."""
    lengths = experiment.task_feature_lengths
    with experiment.surroundings.entered():
        setup.prepare(experiment)
        stream = Stream.of(experiment.mixture_or_task_name, experiment.seed)
        batches = stream.batches(0, lengths, WINDOW, slice(0, WINDOW)).take(_WINDOWS)
        sizes = tuple(
            {name: np.count_nonzero(batch[name], axis=1) for name in TOKENS}
            for batch in batches.as_numpy_iterator()
        )
    return Filling(sizes, lengths)


def measured_or_why_not(experiment: Experiment) -> tuple[Filling | None, str]:
    try:
        return measure(experiment), ""
    except UserError as error:
        return None, str(error).splitlines()[0]
