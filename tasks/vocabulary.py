"""The vocabulary of a dataset, found when it is used."""

import contextlib
import functools
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import gin
import seqio
from absl import logging
from etils import epath

from recalign.data.prepared import open_dataset
from recalign.data.vocabulary import (
    EXTRA_IDS,
    T5_MODEL,
    has_sentinels,
    read_pieces,
    train_vocabulary,
)
from recalign.errors import UserError
from recalign.preprocessors.surroundings import data_directory, entered


@gin.configurable(module="tasks")
def vocabulary(sentencepiece_model: str = T5_MODEL) -> str:
    """The file for datasets without a vocabulary of their own."""
    return sentencepiece_model


def vocabulary_file() -> str:
    """The file of the experiment that this thread is in, else gin's."""
    surroundings = entered()
    return vocabulary() if surroundings is None else surroundings.vocabulary_file or T5_MODEL


@contextlib.contextmanager
def stand_in_vocabulary() -> Iterator[str]:
    """The file of a vocabulary that says nothing: SeqIO's tasks have to have one, also for whoever
    reads no prompt, such as the baselines."""
    with tempfile.NamedTemporaryFile(suffix=".model") as file:
        file.write(train_vocabulary(["I"], 64, "0123456789"))
        file.flush()
        yield file.name


class DatasetVocabulary(seqio.SentencePieceVocabulary):
    """A dataset's own `sentencepiece.model`, else the one that gin names, else T5's.

    It stands for a plain `SentencePieceVocabulary` that is made at the first use, and is equal to
    one of the same file: T5X compares the model's vocabulary with the task's.
    """

    def __init__(self, dataset: str):
        # Not the parent's: what it would set is asked of `plain` (`__getattr__`).
        self._dataset = dataset
        self._found: dict[tuple[str, str], seqio.SentencePieceVocabulary] = {}

    @property
    def plain(self) -> seqio.SentencePieceVocabulary:
        """The vocabulary of the data directory and gin configuration that are set now."""
        key = (data_directory(), vocabulary_file())
        if key not in self._found:
            own = open_dataset(self._dataset, key[0]).sentencepiece_model
            self._found[key] = plain_vocabulary(os.fspath(own or key[1]))
        return self._found[key]

    def __getattr__(self, name: str) -> Any:
        if name in ("_dataset", "_found"):
            raise AttributeError(name)
        return getattr(self.plain, name)

    def __reduce__(self) -> tuple:
        return DatasetVocabulary, (self._dataset,)

    def __getstate__(self) -> dict[str, Any]:
        return self.plain.__getstate__()

    def _model_context(self) -> Any:
        return self.plain._model_context()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, DatasetVocabulary) and self._dataset == other._dataset:
            return True
        if not isinstance(other, seqio.SentencePieceVocabulary):
            return False
        return _state(self.plain) == _state(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"DatasetVocabulary({self._dataset!r})"


def _state(plain: seqio.SentencePieceVocabulary) -> dict[str, Any]:
    """What makes vocabularies equal: how the file is read, and which file it is."""
    path = str(plain.sentencepiece_model_file)
    file = path if "://" in path else os.path.realpath(path)
    return plain.__getstate__() | {"_sentencepiece_model_file": file}


@functools.cache
def plain_vocabulary(path: str) -> seqio.SentencePieceVocabulary:
    """The vocabulary of a file, with sentinels.

    Raises:
        UserError: the file cannot be read or is no SentencePiece model.
    """
    try:
        content = epath.Path(path).read_bytes()
    except Exception as error:  # Cloud clients raise classes of their own.
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"vocabulary {path}: {reason}: give `recalign prepare` a --sentencepiece_model FILE, "
            "or bind tasks.vocabulary.sentencepiece_model in gin"
        ) from error
    tokenizer = read_pieces(content, path)
    if tokenizer.unk_id() != 2:
        logging.warning(
            "Vocabulary %s: the unknown piece is %d, T5's is 2: weights that were trained with "
            "T5's own vocabulary do not fit it.",
            path,
            tokenizer.unk_id(),
        )
    extra_ids = 0 if has_sentinels(content) else EXTRA_IDS
    return seqio.SentencePieceVocabulary(path, extra_ids=extra_ids)
