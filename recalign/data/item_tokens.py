"""Item ids as pieces of the vocabulary: an id is one token, or a token a code, instead of 2 to 9.

The pieces come after the vocabulary's last one, sentinels included, so that every row of
pre-trained weights keeps its number. OpenP5 (arXiv 2306.11134) calls a token an item independent
indexing; LC-Rec (arXiv 2311.09049) gives each code of a semantic id a token.
"""

import dataclasses
import re
from collections.abc import Iterable

import numpy as np
import sentencepiece
from jaxtyping import Int32

from recalign.data.catalogue import Catalogue
from recalign.data.vocabulary import (
    EXTRA_IDS,
    embedding_rows,
    has_sentinels,
    model_proto,
    with_sentinels,
)
from recalign.errors import UserError

_SPACE = "▁"
_TEXTS = ("title", "brand", "price", "description")


@dataclasses.dataclass(frozen=True)
class ItemTokens:
    """The pieces that stand for items."""

    first: int  # number of the first; all later ones are of items too
    count: int

    @property
    def vocab_size(self) -> int:
        """Rows of an embedding that holds them all: VOCAB_SIZE.

        >>> ItemTokens(first=32_100, count=11_924).vocab_size
        44032
        """
        return embedding_rows(self.first + self.count)

    @property
    def gin_line(self) -> str:
        """What an experiment binds.

        >>> ItemTokens(first=32_100, count=11_924).gin_line
        'VOCAB_SIZE = 44_032'
        """
        return f"VOCAB_SIZE = {self.vocab_size:_}"


def add_item_tokens(
    model: bytes, catalogue: Catalogue
) -> tuple[bytes, Catalogue, ItemTokens, list[str]]:
    """A vocabulary with a piece for each part of the catalogue's ids.

    Args:
        model: a SentencePiece model's file, BPE or unigram.
        catalogue: its ids are `I7`, a piece each, or `Ia12_b7_c63`, a piece a code.

    Returns:
        The model's file with the pieces after its last (and T5's sentinels before them, where it
        had none); the catalogue, in which no text reads as an id any more; the pieces; and notes.
    """
    if not has_sentinels(model):
        # SeqIO would number its sentinels after the items: pre-trained rows would not be theirs.
        model = with_sentinels(model, EXTRA_IDS)
    pieces = list(dict.fromkeys(piece for id_ in catalogue.ids for piece in pieces_of(id_)))
    proto = model_proto(model)
    tokens = ItemTokens(first=len(proto.pieces), count=len(pieces))
    if taken := {piece.piece for piece in proto.pieces} & set(pieces):
        raise UserError(
            f"the vocabulary has the piece {min(taken)!r} already: give --item_tokens a"
            " --sentencepiece_model that holds no items"
        )
    for text in pieces:
        piece = proto.pieces.add(piece=text, score=0.0)
        piece.type = piece.USER_DEFINED
    extended = proto.SerializeToString()
    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=extended)
    number = {piece: tokens.first + place for place, piece in enumerate(pieces)}
    listed = tokenizer.EncodeAsIds([f"{id_}," for id_ in catalogue.ids])
    for id_, found in zip(catalogue.ids, listed, strict=True):
        expected = [number[piece] for piece in pieces_of(id_)]
        if found[: len(expected)] != expected:
            raise UserError(
                f"the vocabulary reads {id_ + ','!r} as {tokenizer.EncodeAsPieces(id_ + ',')}:"
                " --item_tokens needs a SentencePiece model of the type bpe or unigram"
            )
    catalogue, rewritten = without_ids_in_texts(catalogue, tokenizer, tokens.first)
    note = f"{rewritten:,} texts held a word that reads as an item's id: written in lower case"
    return extended, catalogue, tokens, [note] if rewritten else []


def pieces_of(id_: str) -> list[str]:
    """The pieces of an id.

    >>> pieces_of("I7"), pieces_of("Ia12_b7_c63")
    (['▁I7'], ['▁Ia12', '_b7', '_c63'])
    """
    first, *rest = re.split("(?=_)", id_)
    return [_SPACE + first, *rest]


def without_ids_in_texts(
    catalogue: Catalogue, tokenizer: sentencepiece.SentencePieceProcessor, first: int
) -> tuple[Catalogue, int]:
    """The catalogue with texts such as "Core I5" as "Core i5", and how many of them there were."""
    rewritten = 0

    def plain(texts: Iterable[str]) -> list[str]:
        nonlocal rewritten
        texts = list(texts)
        for place, tokens in enumerate(tokenizer.EncodeAsIds(texts)):
            if tokens and max(tokens) >= first:
                texts[place] = " ".join(_lower(word) for word in texts[place].split(" "))
                rewritten += 1
        return texts

    def _lower(word: str) -> str:
        reads_as_id = max(tokenizer.EncodeAsIds(word), default=0) >= first
        return word.lower().replace("_", "-") if reads_as_id else word

    table = catalogue.table
    columns: dict[str, list] = {name: plain(table[name].to_pylist()) for name in _TEXTS}
    columns["categories"] = [plain(names or []) for names in table["categories"].to_pylist()]
    return catalogue.with_columns(**columns), rewritten


def stands_for(
    catalogue: Catalogue, tokenizer: sentencepiece.SentencePieceProcessor, tokens: ItemTokens
) -> list[Int32[np.ndarray, " tokens"]]:
    """For each piece, in order, the older tokens of the texts that it stands for.

    A piece of a single item stands for its title, a code for the titles of all items that have it.
    """
    texts: list[list[int]] = [[] for _ in range(tokens.count)]
    ids = tokenizer.EncodeAsIds(list(catalogue.ids))
    titles = tokenizer.EncodeAsIds(list(catalogue.titles))
    for pieces, title in zip(ids, titles, strict=True):
        for piece in pieces:
            texts[piece - tokens.first] += title
    return [np.asarray(text, np.int32) for text in texts]
