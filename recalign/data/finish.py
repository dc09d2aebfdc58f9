"""What lies beside the records of a prepared dataset: its catalogue and what it says of itself.

The last part of the preparation, in memory and on Beam alike.
"""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence

import numpy as np
from etils import epath
from jaxtyping import Int64

from recalign.data import integrity
from recalign.data.catalogue import FILE_NAME, Catalogue, write_catalogue
from recalign.data.ids import check_method
from recalign.data.info_fields import MOST_SEED
from recalign.data.item_tokens import ItemTokens, add_item_tokens
from recalign.data.own_vocabulary import own_vocabulary as train_own_vocabulary
from recalign.data.prepared import INFO_FILE, SENTENCEPIECE_FILE
from recalign.data.ratings import RatingSummary
from recalign.data.readers.tally import WARNING
from recalign.data.records import VERSION, Shard, shard_digests, write_metadata
from recalign.data.semantic_encoder import FILE_NAME as ENCODER_FILE
from recalign.data.semantic_ids import SemanticIds, semantic_ids
from recalign.data.temporal import Cuts
from recalign.data.ties import Ties
from recalign.data.vocabulary import (
    T5_ADDRESS,
    T5_MODEL,
    read_pieces,
    why_t5_cannot_be_read,
)
from recalign.errors import UserError

T5, OWN = "t5", "own"
"""What --vocabulary may be."""


@dataclasses.dataclass(frozen=True)
class Findings:
    """What the preparation found out about the sequences.

    Attributes:
        has_reviews: whether the log has review texts.
        pairs: of a user and an item of theirs; fewer than interactions where repeats are kept.
        users_of_length: int64; the number of users whose sequence is so long, by length.
        ties: users whose last two items share a timestamp; None without timestamps.
        ratings: what they are like; None where the log has none.
        split: the way of splitting.
        cuts: the moments of a split by time.
        trained_later: the share of test items that others' training parts hold after the test
            moment; None without timestamps.
        notes: what was dropped or guessed, a line each.
    """

    has_reviews: bool
    pairs: int
    users_of_length: Int64[np.ndarray, " lengths"]
    ties: Ties | None
    ratings: RatingSummary | None
    split: str
    cuts: Cuts | None
    trained_later: float | None
    notes: Sequence[str]

    @property
    def has_ratings(self) -> bool:
        """Whether the records hold ratings: those of a log that are not all the same."""
        return self.ratings is not None and self.ratings.is_usable


def check_settings(name: str, seed: int, least: int, item_ids: str) -> None:
    """Refuses what cannot be prepared, before a log is read.

    Raises:
        UserError: an impossible name, seed, k-core or way of numbering the items.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UserError(
            f"dataset name {name!r}: lower-case letters, digits and underscores only,"
            " starting with a letter"
        )
    if not 0 <= seed <= MOST_SEED:
        raise UserError(f"--seed {seed}: 0 to {MOST_SEED}")
    if least < 0:
        raise UserError(f"--k_core {least}: 0 or more")
    check_method(item_ids)


def wording_of(noun: str, verb: Sequence[str]) -> dict[str, object]:
    """What prompts say of a dataset, for `dataset.json`.

    Raises:
        UserError: a verb without its two forms.
    """
    if verb and len(verb) != 2:
        raise UserError(f"--verb {','.join(verb)}: two forms, as in 'listened to,listen to'")
    for words in (noun, *verb):
        if "{" in words or "}" in words:
            raise UserError(f"{words!r}: a brace stands for a field of a prompt")
    return {"noun": noun, "verb": list(verb)}


def read_vocabulary(
    given: str | os.PathLike | bytes | None, item_tokens: bool, own: bool = False
) -> bytes | None:
    """The content of a SentencePiece model's file.

    Args:
        given: the file, or its content; None for none, or for T5's where `item_tokens` needs one.
        item_tokens: whether the dataset gets a vocabulary with its IDs.
        own: whether one is made from the catalogue, so that none is read.

    Raises:
        UserError: it cannot be read.
    """
    if isinstance(given, bytes):
        return given
    if own and given is not None:
        raise UserError("--vocabulary own and --sentencepiece_model are two vocabularies: give one")
    if own or (given is None and not item_tokens):
        return None
    path = T5_MODEL if given is None else given
    way = (
        f": give a copy of it, from {T5_ADDRESS}, by --sentencepiece_model FILE, or --vocabulary"
        " own, which needs none"
    )
    if given is None and (reason := why_t5_cannot_be_read()):
        raise UserError(f"{path}: {reason}{way}")
    try:
        content = epath.Path(path).read_bytes()
    except Exception as error:  # Cloud clients raise classes of their own.
        reason = getattr(error, "strerror", None) or str(error).strip().split("\n")[0]
        raise UserError(f"{os.fspath(path)}: {reason}{'' if given else way}") from error
    read_pieces(content, os.fspath(path))
    return content


def finish(
    directory: epath.Path,
    shards: Sequence[Shard],
    catalogue: Catalogue,
    findings: Findings,
    *,
    name: str,
    seed: int,
    k_core: int,
    item_ids: str,
    item_tokens: bool,
    sources: Sequence[object],
    vocabulary: bytes | None,
    own_vocabulary: bool,
    wording: Mapping[str, object],
    extra_files: Mapping[str, bytes],
) -> None:
    """Completes a directory that holds the records."""
    notes = list(findings.notes)
    semantic: SemanticIds | None = None
    if item_ids == "semantic":
        semantic = semantic_ids(catalogue, seed, separator="_" if item_tokens else "")
        catalogue = catalogue.with_ids(semantic.ids)
        notes += semantic.lines()
    if own_vocabulary:
        vocabulary, note = train_own_vocabulary(catalogue, item_tokens=item_tokens)
        notes.append(note)
    tokens: ItemTokens | None = None
    base = None if vocabulary is None else integrity.digest_of(vocabulary)
    if item_tokens:
        assert vocabulary is not None, "read_vocabulary gives one"
        vocabulary, catalogue, tokens, more_notes = add_item_tokens(vocabulary, catalogue)
        notes += more_notes
    write_metadata(
        shards,
        directory,
        name,
        has_ratings=findings.has_ratings,
        has_reviews=findings.has_reviews,
    )
    write_catalogue(catalogue, directory)
    if shared := catalogue.ambiguous:
        notes.append(_ambiguous(shared))
    elif catalogue.log_looks_alike:
        notes.append(
            f"{WARNING}IDs of the log have the form of the catalogue's ({catalogue.ids[0]}):"
            " `recommend` asks for raw:… or id:… where an ID could be both"
        )
    if vocabulary is not None:
        (directory / SENTENCEPIECE_FILE).write_bytes(vocabulary)
    encoder = None if semantic is None else semantic.encoder
    if encoder is not None:
        (directory / ENCODER_FILE).write_bytes(encoder.content())
    for file_name, content in extra_files.items():
        (directory / file_name).write_bytes(content)
    lengths = np.arange(len(findings.users_of_length))
    users = int(findings.users_of_length.sum())
    interactions = int((findings.users_of_length * lengths).sum())
    mean = interactions / users
    info = {
        "name": name,
        "version": VERSION,
        "seed": seed,
        "k_core": k_core,
        "item_ids": item_ids,
        "semantic_ids": None if semantic is None else semantic.figures(),
        "item_tokens": None if tokens is None else dataclasses.asdict(tokens),
        "base_vocabulary": base,
        "has_ratings": findings.has_ratings,
        "has_reviews": findings.has_reviews,
        "users": users,
        "items": len(catalogue),
        "interactions": interactions,
        "sparsity_percent": 100 * (1 - findings.pairs / (users * len(catalogue))),
        "sequence_length_mean": mean,
        "sequence_length_std": float(
            np.sqrt((findings.users_of_length * (lengths - mean) ** 2).sum() / users)
        ),
        "tied_last_fraction": None if findings.ties is None else findings.ties.users / users,
        "ties_sorted_by_item": None if findings.ties is None else findings.ties.is_sorted,
        "trained_later_fraction": findings.trained_later,
        "split": findings.split,
        "cuts": findings.cuts,
        "ratings": None if findings.ratings is None else findings.ratings.info(),
        "wording": dict(wording),
        "sources": list(sources),
        "notes": [*notes, *_own_notes(findings, users)],
        "fingerprint": _fingerprint(shards, catalogue, vocabulary, extra_files, seed),
        "shards": shard_digests(shards),
        "files": integrity.file_digests(
            directory,
            [
                FILE_NAME,
                *([SENTENCEPIECE_FILE] if vocabulary else []),
                *([ENCODER_FILE] if encoder else []),
                *extra_files,
            ],
        ),
    }
    (directory / INFO_FILE).write_text(integrity.sealed_json(info))


def _ambiguous(shared: Sequence[str]) -> str:
    return (
        f"{WARNING}{len(shared):,} of the items have an ID in the log that is another item's in the"
        f" catalogue ({shared[0]}): `recommend` asks for raw:{shared[0]} or id:{shared[0]} there"
    )


def _own_notes(findings: Findings, users: int) -> list[str]:
    """Notes on ratings and ties."""
    notes = findings.ratings.notes() if findings.ratings else []
    tied = findings.ties.note(users) if findings.ties else None
    return notes + ([tied] if tied else [])


def _fingerprint(
    shards: Sequence[Shard],
    catalogue: Catalogue,
    vocabulary: bytes | None,
    extra_files: Mapping[str, bytes],
    seed: int,
) -> str:
    """A digest of all that the dataset holds, so that two of one name can be told apart.

    The seed, by which held-out negatives are drawn, is a part of it; names and sources are not.
    """
    records = sum(shard.digest for shard in shards) % 2**256
    digest = hashlib.sha256(records.to_bytes(32) + str(seed).encode())
    for batch in catalogue.table.to_batches(max_chunksize=10_000):
        digest.update(json.dumps(batch.to_pylist()).encode())
    digest.update(vocabulary or b"")
    for file_name in sorted(extra_files):
        digest.update(file_name.encode() + extra_files[file_name])
    return digest.hexdigest()
