"""A prepared dataset as the rest of the package sees it."""

import dataclasses
import functools
import os
from collections.abc import Mapping
from typing import Any

from etils import epath

from recalign.data.catalogue import FILE_NAME as CATALOGUE_FILE
from recalign.data.catalogue import Catalogue, read_catalogue
from recalign.data.findings import LIKE_THRESHOLD
from recalign.data.ids import look_alike
from recalign.data.info_fields import fault_of
from recalign.data.integrity import DIGEST, digest_of, is_sealed, parse_json, read_json, read_text
from recalign.data.item_tokens import ItemTokens
from recalign.data.records import (
    VERSION,
    UserReviews,
    UserSequences,
    damaged,
    read_records,
    read_reviews,
)
from recalign.data.semantic_encoder import FILE_NAME as ENCODER_FILE
from recalign.data.semantic_encoder import SemanticEncoder
from recalign.errors import UserError, shown

INFO_FILE = "dataset.json"
SENTENCEPIECE_FILE = "sentencepiece.model"


@dataclasses.dataclass(frozen=True, eq=False)
class PreparedDataset:
    """A dataset on disk; what is read of it stays in memory. It is a key by identity."""

    directory: epath.Path  # `<data_dir>/<name>/<version>`
    info: dict  # what `dataset.json` holds (`recalign.data`)
    _read: dict[tuple[str, str], Any] = dataclasses.field(
        default_factory=dict, init=False, repr=False
    )

    @property
    def name(self) -> str:
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
        if ratings is None:
            return "the log has no ratings"
        if not self.has_ratings:
            return f"every rating of the log is {ratings['minimum']:g}"
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
        return self.info["has_reviews"]

    @property
    def item_tokens(self) -> ItemTokens | None:
        """The pieces of the vocabulary that are items; None where ids are spelled."""
        found = self.info.get("item_tokens")
        return None if found is None else ItemTokens(**found)

    @property
    def ids_alike(self) -> bool:
        """Whether an ID of the log, or of an item that came later, has the form of the catalogue's.

        Of the log's items those count too that `prepare` left out.
        """
        return self.info["ids_alike"] or look_alike(self.catalogue.raw_ids, self.catalogue.ids)

    @functools.cached_property
    def catalogue(self) -> Catalogue:
        """The items, in index order; a UserError for a damaged file, here as below."""
        catalogue = read_catalogue(
            self.content(CATALOGUE_FILE), os.fspath(self.directory / CATALOGUE_FILE)
        )
        if len(catalogue) != self.info["items"]:
            raise damaged(self.directory, f"{len(catalogue):,} items in {CATALOGUE_FILE}")
        return catalogue

    @functools.cached_property
    def sentencepiece_model(self) -> epath.Path | None:
        """The dataset's own vocabulary, where it has one."""
        if SENTENCEPIECE_FILE not in self.info["files"]:
            return None
        self.content(SENTENCEPIECE_FILE)
        return self.directory / SENTENCEPIECE_FILE

    @functools.cached_property
    def semantic_encoder(self) -> SemanticEncoder | None:
        """What gives texts codes as the items' ids have them; None where there is none."""
        if ENCODER_FILE not in self.info["files"]:
            return None
        name = os.fspath(self.directory / ENCODER_FILE)
        content = self.content(ENCODER_FILE)
        return SemanticEncoder.of_content(content, self.info["semantic_ids"]["embed"], name)

    def with_catalogue(self, catalogue: Catalogue) -> "PreparedDataset":
        """The same sequences with further items, which none of them holds, after the own ones."""
        other = dataclasses.replace(self)
        vars(other)["catalogue"] = catalogue  # where `cached_property` keeps it
        return other

    @property
    def fingerprint(self) -> str:
        """Of all that it holds: equal for equal content, whatever its name and sources."""
        return self.info["fingerprint"]

    def content(self, name: str) -> bytes:
        """The content of a file beside the records; a UserError if it is not what was written."""
        try:
            content = (self.directory / name).read_bytes()
        except OSError as error:
            raise damaged(self.directory, f"{name}: {error.strerror or error}") from error
        if digest_of(content) != self.info["files"].get(name):
            raise damaged(self.directory, f"{name} is not what was written")
        return content

    def sequences(self, split: str) -> UserSequences:
        """All records of "train", "validation" or "test"; a KeyError for any other split."""
        if ("sequences", split) not in self._read:
            self._read["sequences", split] = read_records(self.directory, self.info, split)
        return self._read["sequences", split]

    def reviews(self, split: str) -> UserReviews:
        """The review texts of a split, aligned with `sequences(split)`; a UserError where there are
        none."""
        if not self.has_reviews:
            raise UserError(
                f"dataset {self.name!r} has no review texts: prepare it with --review_texts from a"
                " log that has them"
            )
        if ("reviews", split) not in self._read:
            self._read["reviews", split] = read_reviews(self.directory, self.info, split)
        return self._read["reviews", split]


def dataset_path(name: str, data_dir: str | os.PathLike) -> epath.Path:
    """Where the dataset is or would be."""
    return epath.Path(data_dir) / name / VERSION


def dataset_directory(name: str, data_dir: str | os.PathLike) -> epath.Path:
    """The directory of a dataset that is there; else a UserError with the command that prepares
    it."""
    directory = dataset_path(name, data_dir)
    if not (directory / INFO_FILE).exists():
        raise UserError(
            f"dataset {name!r} is not prepared in {directory}:"
            f" run `recalign prepare {name} --data_dir {os.fspath(data_dir)}`"
        )
    return directory


def open_dataset(name: str, data_dir: str | os.PathLike) -> PreparedDataset:
    """Opens a prepared dataset; the same object as before unless it was prepared anew."""
    directory = dataset_directory(name, data_dir)
    path = directory / INFO_FILE
    try:
        # The info holds a fingerprint of the data, so that other data never has the same text.
        dataset = _open(os.fspath(directory), path.stat().mtime, read_text(path))
    except UserError as error:
        raise UserError(f"{path}: damaged ({error}): prepare the dataset again") from error
    if dataset.name != name:
        raise UserError(
            f"{directory} holds the dataset {shown(dataset.name)}, not {name!r}: use it under its"
            f" name, or prepare {name!r}"
        )
    return dataset


@functools.lru_cache(maxsize=16)
def _open(directory: str, mtime: int, info_text: str) -> PreparedDataset:
    del mtime  # A part of the key alone.
    info = parse_json(info_text, "it")
    if isinstance(info, dict) and {"name", "fingerprint"} <= info.keys() and DIGEST not in info:
        raise UserError("or written by an earlier recalign")
    reason = fault_of(info) if is_sealed(info) else "not what was written"
    if reason is not None:
        raise UserError(reason)
    return PreparedDataset(epath.Path(directory), info)


def what_is_there(name: str, data_dir: str | os.PathLike) -> Mapping[str, Any] | None:
    """What a dataset says of itself before it is replaced, damaged or not; None where none is."""
    path = dataset_path(name, data_dir) / INFO_FILE
    if not path.exists():
        return None
    try:
        found = read_json(path)
    except UserError:
        return {}
    return found if isinstance(found, Mapping) else {}


def replacement_note(before: Mapping[str, Any] | None, now: PreparedDataset) -> str | None:
    """What a person is told of `before`, what was there, once `now` took its place."""
    if before is None:
        return None
    if before.get("fingerprint") == now.fingerprint:
        return f"{now.name} was prepared before, with the same content: runs go on with it"
    return (
        f"{now.name} was prepared before and is replaced: it had {_sizes(before)} and has "
        f"{_sizes(now.info)}; runs that were made from it refuse this one"
    )


def _sizes(info: Mapping[str, Any]) -> str:
    counts = [info.get(name) for name in ("users", "items", "interactions")]
    users, items, interactions = (f"{n:,}" if isinstance(n, int) else "unknown" for n in counts)
    mark = str(info.get("fingerprint", "unknown"))[:12]
    return f"{users} users, {items} items, {interactions} interactions (fingerprint {mark})"
