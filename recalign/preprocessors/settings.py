"""What a run may set about the samples, by gin, read when a dataset is built."""

import dataclasses

import gin

from recalign.data.prepared import PreparedDataset
from recalign.errors import UserError

_MOST_ITEMS = 2**16  # of a sample: rows are as wide as a setting says, whatever they hold


@gin.configurable
@dataclasses.dataclass(frozen=True)
class TaskSettings:
    """Sizes of the paper's samples (section 4.1); in gin: `TaskSettings.history_length = 5`."""

    history_length: int = 20  # w, the number of items of a window
    candidate_pool: int = 100  # size of a ranking pool, the target included
    masking_ratio: float = 0.2  # share of the items (MIM) or tokens (MLM) that are masked
    mean_span_length: float = 3.0  # mean length in tokens of a corrupted span (MLM)
    like_threshold: float | None = None  # a rating above it is a like; None for the dataset's own
    # Whether training has a sample for every item but a user's first, as sequential recommenders
    # do, instead of the paper's windows, of which most users have one.
    every_prefix: bool = False

    def threshold(self, dataset: PreparedDataset) -> float:
        """The rating above which an item of the dataset is liked."""
        return dataset.like_threshold if self.like_threshold is None else self.like_threshold

    def __post_init__(self) -> None:
        for name, valid, needed in (
            ("history_length", self.history_length >= 1, "at least 1"),
            ("history_length", self.history_length <= _MOST_ITEMS, f"at most {_MOST_ITEMS:,}"),
            ("candidate_pool", self.candidate_pool >= 2, "at least 2"),
            ("candidate_pool", self.candidate_pool <= _MOST_ITEMS, f"at most {_MOST_ITEMS:,}"),
            ("masking_ratio", 0 < self.masking_ratio < 1, "between 0 and 1"),
            ("mean_span_length", self.mean_span_length >= 1, "at least 1"),
        ):
            if not valid:
                raise UserError(f"TaskSettings.{name} = {getattr(self, name)}: {needed} is needed")
