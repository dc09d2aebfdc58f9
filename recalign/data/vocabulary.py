"""Vocabularies as files of SentencePiece, in T5's conventions.

One of a dataset's own, from its catalogue, is for whoever cannot read T5's, or has a catalogue in a
language that T5's knows little of. Pre-trained weights do not fit it.
"""

from __future__ import annotations

import io
import itertools
import re
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sentencepiece

from recalign import prompts
from recalign.data.catalogue import Catalogue
from recalign.data.readers.tally import WARNING
from recalign.errors import UserError
from recalign.wording import SUBJECTS

T5_MODEL = "gs://t5-data/vocabs/cc_all.32000.100extra/sentencepiece.model"
T5_ADDRESS = T5_MODEL.replace("gs://", "https://storage.googleapis.com/")
_SECONDS = 5.0

EXTRA_IDS = 100
"""Sentinels that SeqIO adds to a file without any; T5's file holds its own hundred."""

_ROWS = 128

_PIECES = 16_000
"""The most pieces; a small catalogue gives fewer."""

_PIECES_BESIDE_ITEM_TOKENS = 2_000
"""The same where IDs are pieces of their own. Each piece is a row that every step computes a logit
for, and words then say little that the item's own row does not come to hold."""

_TITLES_IN_PROMPTS = 300
"""Titles that are shown in every wording, so that the wordings' own words become pieces."""

_CHARACTERS = "".join(map(chr, range(33, 127)))
"""What prompts, prices and IDs may hold, whether the catalogue does or not."""


def embedding_rows(tokens: int) -> int:
    """Rows of an embedding for so many tokens: a multiple of 128, which accelerators multiply best.

    >>> embedding_rows(32_100)
    32128
    """
    return -(-tokens // _ROWS) * _ROWS


def why_t5_cannot_be_read() -> str:
    """Why the bucket with T5's vocabulary does not answer; "" where it does.

    A client of gs:// asks a machine that refuses it again and again, for minutes.
    """
    try:
        request = urllib.request.Request(T5_ADDRESS, method="HEAD")
        with urllib.request.urlopen(request, timeout=_SECONDS):
            return ""
    except OSError as error:
        return str(error)


def check_vocab_size(vocab_size: int, task: str, needed: int) -> None:
    """Raises a UserError, with the gin line that is needed, where an embedding has fewer rows than
    the task's vocabulary has tokens."""
    if needed > vocab_size:
        raise UserError(
            f"VOCAB_SIZE = {vocab_size} is too small for {task}, whose vocabulary has {needed} "
            f"tokens: set VOCAB_SIZE = {embedding_rows(needed):_}"
        )


def train_vocabulary(sentences: Iterable[str], max_size: int, characters: str = "") -> bytes:
    """Trains a SentencePiece BPE model and returns the file's content.

    BPE, since a unigram vocabulary of a small corpus splits words into letters. Special tokens as
    in T5: padding 0, end of sequence 1, unknown 2, none for the beginning. Deterministic.

    Args:
      sentences: the text; what occurs often in it becomes whole pieces.
      max_size: upper bound of the number of pieces (fewer where the text has no more).
      characters: pieces besides, after all others, where the text lacks them.
    """
    model = io.BytesIO()
    sentences = list(sentences)
    lacking = sorted(set(characters).difference(*sentences))
    # SentencePiece counts digits and punctuation as one script and would learn "37,": set apart,
    # an ID has the same pieces in a list and in an answer.
    apart = (" ".join(re.findall(r"\w+|[^\w\s]", sentence)) for sentence in sentences)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=apart,
        model_writer=model,
        model_type="bpe",
        vocab_size=max_size + len(lacking),
        required_chars="".join(lacking),
        hard_vocab_limit=False,
        character_coverage=1.0,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def has_sentinels(model: bytes) -> bool:
    """Whether the model's file holds T5's sentinels."""
    return b"\xe2\x96\x81<extra_id_0>" in model


def read_pieces(content: bytes, name: str) -> sentencepiece.SentencePieceProcessor:
    """A SentencePiece model that T5 can be trained with, of the content of the file `name`; a
    UserError where its special pieces are not T5's."""
    if not content:
        raise UserError(f"vocabulary {name}: no SentencePiece model (it is empty)")
    try:
        pieces = sentencepiece.SentencePieceProcessor(model_proto=content)
        special = (pieces.pad_id(), pieces.eos_id())
    except Exception as error:  # of classes of SentencePiece's own
        said = (str(error).strip().splitlines() or ["unreadable"])[0]
        raise UserError(f"vocabulary {name}: no SentencePiece model ({said})") from error
    if special != (0, 1):
        raise UserError(
            f"vocabulary {name}: padding is {special[0]} and end of sequence {special[1]}; T5 "
            "models need 0 and 1 (train it with pad_id=0, eos_id=1, unk_id=2, bos_id=-1)"
        )
    return pieces


def model_proto(model: bytes) -> Any:
    """A model's file as the message that it is."""
    # Only here: Beam wants an older protobuf than this module was generated for.
    from sentencepiece import sentencepiece_model_pb2

    return sentencepiece_model_pb2.ModelProto.FromString(model)  # type: ignore[attr-defined]


def with_sentinels(model: bytes, count: int) -> bytes:
    """The model's file with sentinels as last pieces, the first of them last, as T5's own has."""
    proto = model_proto(model)
    for number in reversed(range(count)):
        piece = proto.pieces.add(piece=f"▁<extra_id_{number}>", score=0.0)
        piece.type = piece.USER_DEFINED
    return proto.SerializeToString()


def own_vocabulary(catalogue: Catalogue, *, item_tokens: bool) -> tuple[bytes, str]:
    """The file of a vocabulary of the catalogue's texts, and a note that says what an experiment
    binds for it; `item_tokens` says that a piece for each ID or code will follow."""
    most = _PIECES_BESIDE_ITEM_TOKENS if item_tokens else _PIECES
    model = train_vocabulary(_sentences(catalogue), most, _CHARACTERS)
    model = with_sentinels(model, EXTRA_IDS)
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model).vocab_size()
    # With item tokens the number of rows is told when these are there.
    rows = "" if item_tokens else f"; VOCAB_SIZE = {embedding_rows(pieces):_} will do"
    note = (
        f"a vocabulary of the catalogue's own texts, {pieces:,} pieces: pre-trained weights do not"
        f" fit it{rows}"
    )
    return model, note


def _sentences(catalogue: Catalogue) -> Iterator[str]:
    yield from wordings(catalogue.titles[:_TITLES_IN_PROMPTS])
    yield from catalogue.titles
    for name in ("brand", "description", "price"):
        yield from filter(None, catalogue.table[name].to_pylist())
    yield from itertools.chain.from_iterable(catalogue.table["categories"].to_pylist())


def wordings(titles: Sequence[str]) -> Iterator[str]:
    """What a vocabulary is made from: every wording, with every title."""
    ids = [f"I{n}" for n, _ in enumerate(titles, start=1)]
    items = [
        prompts.ITEM.format(id=id_, title=title) for id_, title in zip(ids, titles, strict=True)
    ]
    end = prompts.ITEM_END
    for n, item in enumerate(items):
        following = (n + 1) % len(items)
        other, other_id = items[following], ids[following]
        shown = {
            "products": "products",
            "history": f"{item}{end} {other}{end}",
            "masked_history": f"{prompts.MASKED_ITEM}{end} {other}{end}",
            "masked": f"{item}{end}",
            "liked": f"{item}{end}",
            "disliked": f"{other}{end}",
            "candidates": f"{ids[n]}{prompts.LIST_SEPARATOR} {other_id}",
            "choices": f"{item}{end} {other}{end}",
            "target": other_id,
            "target:item": other,
            "target:items": f"{other}{end}",
            "label": prompts.YES_NO[0],
            "question": prompts.FIELD_QUESTIONS["title"],
            "value": titles[n],
        }
        for name, prompt in prompts.PROMPTS.items():
            # tiger: nothing but IDs, which the others have too. tiger_rating: vocabularies stay
            # as they were before it came, and letters spell its few words.
            if name not in ("tiger", "tiger_rating"):
                yield f"{_said(prompt.inputs, shown)} {_said(prompt.targets, shown)}"
        yield " ".join(prompts.YES_NO)


def _said(text: str | tuple[str, ...], shown: Mapping[str, str]) -> str:
    """A prompt's sentences with these texts in place of its fields."""
    whole = text if isinstance(text, str) else " ".join(text)
    for subject in SUBJECTS:
        whole = whole.replace("{subject}", subject, 1)
    return re.sub("{(.+?)}", lambda field: shown[field[1]], whole)


def t5_warning() -> str:
    """What a person is told where T5's own vocabulary cannot be read; "" where it can."""
    reason = why_t5_cannot_be_read()
    return reason and (
        f"{WARNING}T5's vocabulary {T5_MODEL} cannot be read from here ({reason}): prompts and"
        " training need one: prepare again with --sentencepiece_model FILE, a copy of it from"
        f" {T5_ADDRESS}, or with --item_tokens --vocabulary own, which needs none; baselines need"
        " none either"
    )
