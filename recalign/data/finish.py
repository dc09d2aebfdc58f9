"""What lies beside the records of a prepared dataset: its catalogue and what it says of itself.

The last part of the preparation, in memory and on Beam alike.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from etils import epath
from jaxtyping import Int64

from recalign.data import integrity
from recalign.data.catalogue import FILE_NAME, Catalogue, build_catalogue, write_catalogue
from recalign.data.findings import Findings
from recalign.data.ids import SEQUENTIAL_WARNING, look_alike
from recalign.data.interactions import ItemTable
from recalign.data.item_tokens import ItemTokens, add_item_tokens
from recalign.data.preparation import OWN, Preparation
from recalign.data.prepared import INFO_FILE, SENTENCEPIECE_FILE
from recalign.data.readers.tally import WARNING
from recalign.data.records import VERSION, Shard, shard_digests, write_metadata
from recalign.data.semantic_encoder import FILE_NAME as ENCODER_FILE
from recalign.data.semantic_ids import SemanticIds, semantic_ids
from recalign.data.vocabulary import own_vocabulary


def finish(
    directory: epath.Path,
    shards: Sequence[Shard],
    raw_ids: list[str],
    counts: Int64[np.ndarray, " items"],
    items: ItemTable,
    findings: Findings,
    asked: Preparation,
    *,
    log_ids: Iterable[str],
    sources: Sequence[object],
    vocabulary: bytes | None,
    extra_files: Mapping[str, bytes],
) -> None:
    """Completes a dataset's directory that holds its records.

    Args:
        directory, shards: the records.
        raw_ids, counts: of the items in index order, and how often the training parts hold each.
        items: what is known of them.
        findings: about the sequences.
        asked: the settings.
        log_ids: the raw ids of all items of the log, those that were left out among them.
        sources, extra_files: as `prepare` takes them.
        vocabulary: the content of a SentencePiece model's file.
    """
    sequential = [SEQUENTIAL_WARNING] if asked.item_ids == "sequential" else []
    catalogue, catalogue_notes = build_catalogue(raw_ids, items, counts)
    notes = [*findings.notes, *sequential, *catalogue_notes]
    semantic: SemanticIds | None = None
    if asked.item_ids == "semantic":
        separator = "_" if asked.item_tokens else ""
        semantic = semantic_ids(catalogue, asked.seed, separator=separator)
        catalogue = catalogue.with_ids(semantic.ids)
        notes += semantic.lines()
    if asked.vocabulary == OWN:
        vocabulary, note = own_vocabulary(catalogue, item_tokens=asked.item_tokens)
        notes.append(note)
    tokens: ItemTokens | None = None
    base = None if vocabulary is None else integrity.digest_of(vocabulary)
    if asked.item_tokens:
        assert vocabulary is not None, "read_vocabulary gives one"
        vocabulary, catalogue, tokens, more_notes = add_item_tokens(vocabulary, catalogue)
        notes += more_notes
    write_metadata(shards, directory, asked.name, findings.has_ratings, findings.has_reviews)
    write_catalogue(catalogue, directory)
    ids_alike = look_alike(log_ids, catalogue.ids)
    if shared := catalogue.ambiguous:
        notes.append(
            f"{WARNING}{len(shared):,} of the items have an ID in the log that is another item's in"
            f" the catalogue ({shared[0]}): `recommend` asks for raw:{shared[0]} or id:{shared[0]}"
            " there"
        )
    elif ids_alike:
        notes.append(
            f"{WARNING}IDs of the log have the form of the catalogue's ({catalogue.ids[0]}):"
            " `recommend` asks for raw:… or id:… where an ID could be both"
        )
    beside = dict(extra_files)
    if vocabulary is not None:
        beside[SENTENCEPIECE_FILE] = vocabulary
    if semantic is not None and semantic.encoder is not None:
        beside[ENCODER_FILE] = semantic.encoder.content()
    for file_name, content in beside.items():
        (directory / file_name).write_bytes(content)
    ratings, ties = findings.ratings, findings.ties
    lengths = np.arange(len(findings.users_of_length))
    users = int(findings.users_of_length.sum())
    interactions = int((findings.users_of_length * lengths).sum())
    mean = interactions / users
    notes += [] if ratings is None else ratings.notes()
    if ties is not None and (tied := ties.note(users)):
        notes.append(tied)
    info = {
        "name": asked.name,
        "version": VERSION,
        "seed": asked.seed,
        "k_core": asked.k_core,
        "item_ids": asked.item_ids,
        "semantic_ids": None if semantic is None else semantic.figures(),
        "item_tokens": None if tokens is None else dataclasses.asdict(tokens),
        "base_vocabulary": base,
        "ids_alike": ids_alike,
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
        "tied_last_fraction": None if ties is None else ties.users / users,
        "ties_sorted_by_item": None if ties is None else ties.is_sorted,
        "trained_later_fraction": findings.trained_later,
        "split": asked.split,
        "cuts": findings.cuts,
        "ratings": None if ratings is None else dataclasses.asdict(ratings),
        "wording": {"noun": asked.noun, "verb": list(asked.verb)},
        "sources": list(sources),
        "notes": notes,
        "fingerprint": _fingerprint(shards, catalogue, vocabulary, extra_files, asked.seed),
        "shards": shard_digests(shards),
        "files": {
            name: integrity.digest_of((directory / name).read_bytes())
            for name in (FILE_NAME, *beside)
        },
    }
    (directory / INFO_FILE).write_text(integrity.sealed_json(info))


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
