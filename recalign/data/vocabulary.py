"""Vocabularies as files of SentencePiece, in T5's conventions."""

from __future__ import annotations

import io
import re
import urllib.request
from collections.abc import Iterable
from typing import Any

import sentencepiece

from recalign.errors import UserError

T5_MODEL = "gs://t5-data/vocabs/cc_all.32000.100extra/sentencepiece.model"
T5_ADDRESS = T5_MODEL.replace("gs://", "https://storage.googleapis.com/")
_SECONDS = 5.0

EXTRA_IDS = 100
"""Sentinels that SeqIO adds to a file without any; T5's file holds its own hundred."""


_ROWS = 128


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
    """A SentencePiece model that T5 can be trained with.

    Args:
      content: of the model's file.
      name: the file's, for messages.

    Raises:
      UserError: it is no such model, or its special pieces are not T5's.
    """
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
