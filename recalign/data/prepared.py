"""A prepared dataset as the rest of the package sees it."""

import dataclasses
import functools
import json
import os

from etils import epath

from recalign.data.catalogue import Catalogue, read_catalogue
from recalign.data.item_tokens import ItemTokens
from recalign.data.ratings import LIKE_THRESHOLD
from recalign.data.records import VERSION, UserReviews, UserSequences, read_records, read_reviews
from recalign.errors import UserError

INFO_FILE = "dataset.json"
SENTENCEPIECE_FILE = "sentencepiece.model"

__all__ = [
    "Catalogue",
    "PreparedDataset",
    "UserReviews",
    "UserSequences",
    "dataset_directory",
    "dataset_path",
    "open_dataset",
]


@dataclasses.dataclass(frozen=True)
class PreparedDataset:
    """A dataset on disk; what is read of it stays in memory.

    Attributes:
        directory: `<data_dir>/<name>/<version>`.
        info: what `dataset.json` holds (WORKSPACE.md), and "notes", lines for a person.
    """

    directory: epath.Path
    info: dict
    _sequences: dict[str, UserSequences] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _reviews: dict[str, UserReviews] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def name(self) -> str:
        """The dataset's name."""
        return self.info["name"]

    @property
    def has_ratings(self) -> bool:
        """Whether the log has ratings."""
        return self.info["has_ratings"]

    @property
    def like_threshold(self) -> float:
        """A rating above it is a like, unless an experiment says otherwise."""
        return (self.info.get("ratings") or {}).get("threshold", LIKE_THRESHOLD)

    def no_ratings(self, threshold: float | None = None) -> str | None:
        """Why there are no likes to predict at a threshold; None where there are."""
        ratings = self.info.get("ratings")
        if not self.has_ratings:
            if not ratings:
                return "the log has no ratings"
            if not ratings["number"]:
                return "no interaction has a rating"
            return f"every rating of the log is {ratings['minimum']:g}"
        if ratings is None:
            return None
        threshold = self.like_threshold if threshold is None else threshold
        if not ratings["minimum"] <= threshold < ratings["maximum"]:
            return (
                f"the ratings go from {ratings['minimum']:g} to {ratings['maximum']:g}, so that at"
                f" the threshold {threshold:g} all are alike (prepare --like_threshold)"
            )
        return None

    @property
    def has_reviews(self) -> bool:
        """Whether the users' review texts were kept."""
        return self.info.get("has_reviews", False)

    @property
    def item_tokens(self) -> ItemTokens | None:
        """The pieces of the vocabulary that are items; None where ids are spelled."""
        found = self.info.get("item_tokens")
        return None if found is None else ItemTokens(**found)

    @functools.cached_property
    def catalogue(self) -> Catalogue:
        """The items, in index order.

        Raises:
            UserError: a damaged file.
        """
        return read_catalogue(self.directory)

    @property
    def sentencepiece_model(self) -> epath.Path | None:
        """The dataset's own vocabulary, where it has one."""
        path = self.directory / SENTENCEPIECE_FILE
        return path if path.exists() else None

    def sequences(self, split: str) -> UserSequences:
        """All records of "train", "validation" or "test".

        Raises:
            UserError: damaged files.
            KeyError: an unknown split.
        """
        if split not in self._sequences:
            self._sequences[split] = read_records(self.directory, split, self.has_ratings)
        return self._sequences[split]

    def reviews(self, split: str) -> UserReviews:
        """The review texts of "train", "validation" or "test", aligned with `sequences(split)`.

        Raises:
            UserError: there are none, or damaged files.
            KeyError: an unknown split.
        """
        if not self.has_reviews:
            raise UserError(
                f"dataset {self.name!r} has no review texts: prepare it with --review_texts from a"
                " log that has them"
            )
        if split not in self._reviews:
            self._reviews[split] = read_reviews(self.directory, split)
        return self._reviews[split]


def dataset_path(name: str, data_dir: str | os.PathLike) -> epath.Path:
    """Where the dataset is or would be."""
    return epath.Path(data_dir) / name / VERSION


def dataset_directory(name: str, data_dir: str | os.PathLike) -> epath.Path:
    """The directory of a dataset that is there.

    Raises:
        UserError: it is not prepared; the message holds the command that prepares it.
    """
    directory = dataset_path(name, data_dir)
    if not (directory / INFO_FILE).exists():
        raise UserError(
            f"dataset {name!r} is not prepared in {directory}:"
            f" run `recalign prepare {name} --data_dir {os.fspath(data_dir)}`"
        )
    return directory


def open_dataset(name: str, data_dir: str | os.PathLike) -> PreparedDataset:
    """Opens a prepared dataset; the same object as before unless it was prepared anew.

    Raises:
        UserError: it is not prepared, or its `dataset.json` is damaged.
    """
    directory = dataset_directory(name, data_dir)
    path = directory / INFO_FILE
    # The info holds a fingerprint of the data, so that other data never has the same text.
    return _open(os.fspath(directory), path.stat().mtime, path.read_text())


@functools.lru_cache(maxsize=16)
def _open(directory: str, mtime: int, info_text: str) -> PreparedDataset:
    del mtime  # A part of the key alone.
    try:
        info = json.loads(info_text)
        info["name"], info["has_ratings"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{directory}/{INFO_FILE}: damaged ({error}): prepare the dataset again"
        ) from error
    return PreparedDataset(epath.Path(directory), info)
