"""Items that came after training: they get semantic ids by their texts, and so a place in the trie.

A model that answers with codes gives a new item the probability of the codes that its text has.
Random and sequential ids say nothing of an item, so that a new one would get a random place: these
are refused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import sentencepiece

from recalign.data.catalogue import Catalogue, build_catalogue
from recalign.data.item_tokens import pieces_of, without_ids_in_texts
from recalign.data.prepared import PreparedDataset
from recalign.data.readers.read import read_all_items
from recalign.data.semantic_encoder import FILE_NAME as ENCODER_FILE
from recalign.data.semantic_encoder import SemanticEncoder
from recalign.data.semantic_ids import id_of_codes, item_texts
from recalign.errors import UserError


class ItemFile(NamedTuple):
    """A file of items and how it is read, as `recalign prepare --items` takes it."""

    path: str | os.PathLike  # a file, a folder of files or a pattern of their names
    format: str | None = None  # one of `sources.FORMATS`; None to tell it from the file's name
    columns: Mapping[str, str] = {}  # role -> column; what is not given is guessed


def with_new_items(
    dataset: PreparedDataset, file: ItemFile | str | os.PathLike
) -> tuple[PreparedDataset, list[str]]:
    """The dataset with the items of a file that it does not have, after its own.

    Args:
        dataset: one with semantic ids.
        file: the items, or the file's path; those that the dataset has already are passed over.

    Returns:
        The dataset with a longer catalogue, and lines for a person: how the file was read, how many
        items are new, and how many got no id.
    """
    file = file if isinstance(file, ItemFile) else ItemFile(file)
    encoder = _encoder(dataset)
    known = dataset.catalogue
    items, notices = read_all_items(file.path, file.format, file.columns)
    mine = set(known.raw_ids)
    raw_ids = [raw for raw in items.raw_ids if raw not in mine]
    if not raw_ids:
        return dataset, [*notices, f"{file.path}: no item of it is new"]
    new, notes = build_catalogue(raw_ids, items, np.zeros(len(raw_ids), np.int64))
    texts = item_texts(new)
    if (tokens := dataset.item_tokens) is not None:
        assert dataset.sentencepiece_model is not None, "item tokens are in a vocabulary"
        model = dataset.sentencepiece_model.read_bytes()
        tokenizer = sentencepiece.SentencePieceProcessor(model_proto=model)
        new, _ = without_ids_in_texts(new, tokenizer, tokens.first)
    vectors = encoder.vectors(texts)
    ids = _ids(
        known, encoder.codes(vectors), [bool(it.any()) for it in vectors], tokens is not None
    )
    placed = [number for number, id_ in enumerate(ids) if id_]
    table = new.with_ids(ids).table.take(placed)
    lines = [*notices, *(f"{file.path}: {note}" for note in notes)]
    lines.append(
        f"{len(placed):,} new items, which the model was not trained on, beside"
        f" {len(known):,}; {len(items.raw_ids) - len(raw_ids):,} of the file are known"
    )
    if without := len(ids) - len(placed):
        lines.append(
            f"{without:,} new items left out: no word of theirs is in the catalogue, or the"
            " vocabulary has no token that tells them from the items with the same codes"
        )
    return dataset.with_catalogue(Catalogue.of_table(pa.concat_tables([known.table, table]))), lines


def _encoder(dataset: PreparedDataset) -> SemanticEncoder:
    kind = dataset.info.get("item_ids")
    if kind != "semantic":
        raise UserError(
            f"dataset {dataset.name!r} has {kind} IDs, which say nothing of an item: only those of"
            " `recalign prepare --item_ids semantic` give new items a place"
        )
    encoder = dataset.semantic_encoder
    if encoder is None:
        raise UserError(
            f"dataset {dataset.name!r} has no {ENCODER_FILE}, which gives new items IDs: prepare it"
            " again from the same log with the same flags (its runs stay its own); IDs by an"
            " `embed` of one's own have none"
        )
    return encoder


def _ids(
    known: Catalogue, codes: np.ndarray, has_words: Sequence[bool], has_tokens: bool
) -> list[str]:
    """An id for each item, numbered on after those of the same codes; "" where there is none.

    With item tokens an id is of the tokens that there are: others have no row in the model.
    """
    taken = set(known.ids)
    pieces = {piece for id_ in known.ids for piece in pieces_of(id_)} if has_tokens else set()
    repeats: dict[tuple[int, ...], int] = {}
    ids = []
    for row, has in zip(map(tuple, codes.tolist()), has_words, strict=True):
        number = repeats.get(row, 0)
        id_ = id_of_codes(row, number, "_" if has_tokens else "")
        while id_ in taken:
            number += 1
            id_ = id_of_codes(row, number, "_" if has_tokens else "")
        if not has or (has_tokens and not pieces.issuperset(pieces_of(id_))):
            ids.append("")
            continue
        repeats[row] = number + 1
        taken.add(id_)
        ids.append(id_)
    return ids
