"""Token ids of everything that stands between two spaces of a prompt, computed once.

SentencePiece never crosses white space, so the ids of a prompt are the ids of its phrases, one
after the other. A phrase table numbers the phrases: a prompt is then a row of phrase numbers, and
its tokens are one gather.

One exception, measured: a unigram model compares sums of scores in float32, and over hundreds of
tokens the rounding decides near-ties. Tokenized whole, 13 of 1,500 ranking prompts of Toys write
"I4900," as 4|900 instead of 49|00, depending on where it stands, and SentencePiece and TensorFlow
Text do not even agree on which prompts. Joined, an item has the same tokens wherever it stands. BPE
models have no such ties.
"""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from recalign import prompts
from recalign.data.prepared import PreparedDataset
from recalign.preprocessors.fields import Form
from recalign.preprocessors.memo import once_per_dataset

EMPTY = 0
"""The number of the phrase without tokens."""

SHORTENED_END = 1
"""The number of the phrase after a text that was cut."""

_SPACE = "▁"
_SENTINEL = re.compile(r"<(extra_id_\d+)>")


def plain_text(text: str) -> str:
    """A text of the log without what the vocabulary would read as T5's sentinels.

    >>> plain_text("Cable <extra_id_0>")
    'Cable extra_id_0'
    """
    return _SENTINEL.sub(r"\1", text)


def plain_texts(text_B: tf.Tensor) -> tf.Tensor:
    """`plain_text` of strings [B]."""
    return tf.strings.regex_replace(text_B, _SENTINEL.pattern, r"\1")


@dataclasses.dataclass(frozen=True)
class Block:
    """A list of phrases: every number of a form, with what is glued to it."""

    form: Form
    prefix: str = ""
    suffix: str = ""


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Phrases as token ids, columnar.

    Attributes:
        tokens: int32 [total].
        lengths: int32 [phrases].
        bare: int32 [phrases], the tokens that stay however much is cut; all of what is never cut.
        cut: int32 [total]: a phrase that may keep the tokens before this one at most is cut to
            this many tokens.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    bare: np.ndarray
    cut: np.ndarray

    @classmethod
    def of(cls, texts: Sequence[str], vocabulary: Any, form: Form | None = None) -> "Encoded":
        """Encodes texts, to be cut as the form says; None for never."""
        tokenizer = vocabulary.tokenizer
        ids = tokenizer.EncodeAsIds([plain_text(text) for text in texts]) if len(texts) else []
        lengths = np.array([len(i) for i in ids], np.int32)
        tokens = np.fromiter((t for i in ids for t in i), np.int32, int(lengths.sum()))
        starts = np.cumsum(lengths) - lengths
        place = np.arange(len(tokens)) - np.repeat(starts, lengths)
        if form is None or not form.cut or not form.between_words:
            bare = np.minimum(lengths, 1) if form and form.cut else lengths
            return cls(tokens, lengths, bare, place.astype(np.int32))
        used, piece = np.unique(tokens, return_inverse=True)
        starts_word = np.array(
            [tokenizer.IdToPiece(int(i)).startswith(_SPACE) for i in used], bool
        )[piece]
        starts_word |= place == 0
        flat = np.arange(len(tokens))
        cut = np.maximum.accumulate(np.where(starts_word, flat, 0)) - (flat - place)
        bare = lengths.copy()
        phrase = np.repeat(np.arange(len(texts)), lengths)
        words_before = np.cumsum(starts_word) - starts_word
        word = words_before - np.repeat(words_before[starts[lengths > 0]], lengths[lengths > 0])
        text = starts_word & (word == form.uncut_words)
        bare[phrase[text]] = np.maximum(place[text], 1)
        return cls(tokens, lengths, bare, cut.astype(np.int32))


def vocabulary_key(vocabulary: seqio.SentencePieceVocabulary) -> tuple[str, int]:
    """What distinguishes vocabularies."""
    return str(vocabulary.sentencepiece_model_file), vocabulary.extra_ids


@dataclasses.dataclass(frozen=True)
class HashableVocabulary:
    """A vocabulary that can be part of a key."""

    plain: seqio.SentencePieceVocabulary

    def __hash__(self) -> int:
        return hash(vocabulary_key(self.plain))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HashableVocabulary) and vocabulary_key(
            self.plain
        ) == vocabulary_key(other.plain)


@once_per_dataset
def encoded_block(
    dataset: PreparedDataset, block: Block, vocabulary: HashableVocabulary
) -> Encoded:
    """A phrase for every number of the block's form."""
    texts = block.form.texts_of(dataset)
    return Encoded.of(
        [f"{block.prefix}{text}{block.suffix}" for text in texts], vocabulary.plain, block.form
    )


class PhraseTable:
    """All phrases of a prompt, numbered: 0 is empty, 1 a lone end, then words, then the blocks.

    Attributes:
        lengths: int32 [phrases], as numpy, for computing what a prompt needs at least.
        bare: int32 [phrases], as numpy.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        vocabulary: seqio.SentencePieceVocabulary,
        words: Sequence[tuple[str, ...]],
        blocks: Sequence[Block],
    ):
        """Encodes words, each tuple's variants one after the other, and blocks."""
        hashable = HashableVocabulary(vocabulary)
        lone = ["", prompts.SHORTENED_END]
        parts = [Encoded.of([*lone, *(text for texts in words for text in texts)], vocabulary)]
        self._words: dict[tuple[str, ...], int] = {}
        number = len(lone)
        for texts in words:
            self._words[texts] = number
            number += len(texts)
        self._blocks: dict[Block, tuple[int, int]] = {}
        for block in dict.fromkeys(blocks):
            parts.append(encoded_block(dataset, block, hashable))
            self._blocks[block] = number, len(parts[-1].lengths)
            number += len(parts[-1].lengths)
        self.lengths = np.concatenate([part.lengths for part in parts]).astype(np.int32)
        self.bare = np.concatenate([part.bare for part in parts]).astype(np.int32)
        self.shortened_end = int(self.lengths[SHORTENED_END])
        with tf.init_scope():
            self.tokens = tf.constant(np.concatenate([part.tokens for part in parts]), tf.int32)
            self._cut = tf.constant(np.concatenate([part.cut for part in parts]), tf.int32)
            self._starts = tf.constant(np.cumsum(self.lengths) - self.lengths, tf.int32)
            self._lengths = tf.constant(self.lengths, tf.int32)
            self._bare = tf.constant(self.bare, tf.int32)

    def words(self, texts: tuple[str, ...]) -> int:
        """The number of the first variant of fixed words."""
        return self._words[texts]

    def first(self, block: Block) -> int:
        """The number of the block's phrase for the number 0; the others follow."""
        return self._blocks[block][0]

    def last_length(self, block: Block) -> int:
        """Tokens of the block's last phrase: of items that may be masked, the mask."""
        first, count = self._blocks[block]
        return int(self.lengths[first + count - 1])

    def least(self, block: Block) -> np.ndarray:
        """int32 [numbers]: tokens of the block's phrases, cut as short as they can be."""
        first, count = self._blocks[block]
        of_block = slice(first, first + count)
        end = self.shortened_end if block.form.end else 0
        return np.minimum(self.lengths[of_block], self.bare[of_block] + end)

    def starts_of(self, phrase: tf.Tensor) -> tf.Tensor:
        """int32, where each phrase's tokens begin."""
        return tf.gather(self._starts, phrase)

    def lengths_of(self, phrase: tf.Tensor) -> tf.Tensor:
        """int32, the number of tokens of each phrase."""
        return tf.gather(self._lengths, phrase)

    def bare_of(self, phrase: tf.Tensor) -> tf.Tensor:
        """int32, the number of tokens of each phrase that are never cut."""
        return tf.gather(self._bare, phrase)

    def cut_to(self, phrase: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
        """int32, where each phrase is cut when `limit` tokens of it fit (less than it has)."""
        place = tf.gather(self._starts, phrase) + limit
        return tf.gather(self._cut, tf.minimum(place, tf.size(self._cut) - 1))


def join(tokens: tf.Tensor, start_BxP: tf.Tensor, length_BxP: tf.Tensor) -> tf.RaggedTensor:
    """int32 [B, (tokens)]: pieces of a pool of tokens, one after the other."""
    places = tf.ragged.range(tf.reshape(start_BxP, [-1]), tf.reshape(start_BxP + length_BxP, [-1]))
    return tf.RaggedTensor.from_row_lengths(
        tf.gather(tokens, places.flat_values),
        tf.cast(tf.reduce_sum(length_BxP, axis=1), tf.int64),
        validate=False,
    )
