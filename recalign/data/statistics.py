"""What a dataset holds and what its tasks give: the paper's Tables 7 and 10."""

import numpy as np

from recalign.data.explanations import explained_places, reviewed_places
from recalign.data.prepared import PreparedDataset
from recalign.data.splits import SPLITS, samples_per_user

TASKS = ("retrieval", "ranking", "rating", "mim", "mlm", "bpr")
"""The tasks of the paper's Table 10."""

P5_TASKS = ("p5_sequential", "p5_direct", "p5_rating", "p5_explanation", "p5_review")

NO_REVIEWS = "no review texts were kept (prepare --review_texts)"

FIGURES = (
    *("users", "items", "interactions"),
    *("sparsity_percent", "sequence_length_mean", "sequence_length_std"),
)
"""Of Table 7, as `dataset.json` calls them."""

PAPER_TABLE_7 = {
    name: dict(zip(FIGURES, figures, strict=True))
    for name, figures in {
        "toys": (19_412, 11_924, 167_597, 99.93, 8.63, 8.51),
        "beauty": (22_363, 12_101, 198_502, 99.93, 8.88, 8.16),
        "sports": (35_598, 18_357, 296_337, 99.95, 8.32, 6.07),
    }.items()
}
"""Table 7, and the sequence lengths of Section 4.3."""

PAPER_TABLE_10 = {
    "toys": {"train": 30_761, "validation": 3_000, "test": 19_412},
    "beauty": {"train": 36_582, "validation": 3_000, "test": 22_363},
    "sports": {"train": 47_320, "validation": 3_000, "test": 35_598},
}
"""Table 10: samples of each recommendation task. Its rule is that of `samples_per_user` with a
history length of 20 for Toys and Beauty; the count for Sports is the same rule's with 19."""


def dataset_statistics(dataset: PreparedDataset, history_length: int = 20) -> dict:
    """Users, items, interactions, sequence lengths, and the samples of each task and split.

    Returns:
        What `recalign stats --json` prints: {"users", "items", "interactions",
        "sparsity_percent", "sequence_length_mean", "sequence_length_std", "samples": {task:
        {"train", "validation", "test"}}}. Training counts of mim, mlm and bpr are samples an
        epoch, which differ from epoch to epoch, and so are P5's. Tasks that the log has nothing
        for, such as ratings, are not in "samples", and "omitted" says why. "notes": what was
        noticed when the dataset was prepared, a line each.

    Raises:
        UserError: damaged files, or a history length below 1.
    """
    lengths = {split: np.diff(dataset.sequences(split).row_splits) for split in SPLITS}
    info = dataset.info
    statistics = {name: info[name] for name in FIGURES}
    reviewed = _reviewed(dataset)
    reason = dataset.no_ratings()
    omitted = {} if reason is None else {"rating": reason, "p5_rating": reason}
    omitted |= {} if reviewed else {"p5_explanation": NO_REVIEWS, "p5_review": NO_REVIEWS}
    statistics["samples"] = {
        task: {"train": reviewed[task], "validation": 0, "test": 0}
        if task in reviewed
        else {
            split: int(samples_per_user(task, lengths[split], split, history_length).sum())
            for split in SPLITS
        }
        for task in TASKS + P5_TASKS
        if task not in omitted
    }
    statistics |= {"omitted": omitted} if omitted else {}
    return statistics | {"notes": info["notes"]}


def _reviewed(dataset: PreparedDataset) -> dict[str, int]:
    """The training samples of the tasks about reviews; empty where no reviews were kept."""
    if not dataset.has_reviews:
        return {}
    reviews = dataset.reviews("train")
    return {
        "p5_explanation": len(explained_places(reviews)[0]),
        "p5_review": len(reviewed_places(reviews)),
    }
