"""Token ids of everything that stands between two spaces of a prompt, computed once.

SentencePiece never crosses white space, so the ids of a prompt are the ids of its phrases, one
after the other: a prompt is a row of phrase numbers, and its tokens are one gather.

One exception, measured: a unigram model sums scores in float32, and over hundreds of tokens the
rounding decides near-ties. Tokenized whole, 13 of 1,500 ranking prompts of Toys write "I4900," as
4|900 instead of 49|00. Joined, an item has the same tokens wherever it stands.
"""

import dataclasses
import functools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from recalign import prompts
from recalign.data.prepared import PreparedDataset
from recalign.preprocessors.fields import Form

EMPTY, SHORTENED_END, END_OF_SEQUENCE = 0, 1, 2
"""The numbers of the phrase without tokens, of that after a text that was cut, and of the one that
ends inputs and targets."""

_LONE = ("", prompts.SHORTENED_END)
_LAST = ("</s>",)
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
    """Phrases as token ids, columnar, int32."""

    tokens: np.ndarray  # [total]
    lengths: np.ndarray  # [phrases]
    bare: np.ndarray  # [phrases], tokens that stay however much is cut; all of what is never cut
    cut: np.ndarray  # [total]; a phrase that may keep the tokens before this one is cut to so many

    @classmethod
    def token(cls, number: int) -> "Encoded":
        """One phrase, of one token."""
        one = np.ones(1, np.int32)
        return cls(number * one, one, one, 0 * one)

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


@functools.lru_cache(64)
def encoded_block(dataset: PreparedDataset, block: Block, model: str, extra_ids: int) -> Encoded:
    """A phrase for every number of the block's form, by the vocabulary of a SentencePiece file."""
    texts = [f"{block.prefix}{text}{block.suffix}" for text in block.form.texts_of(dataset)]
    return Encoded.of(texts, seqio.SentencePieceVocabulary(model, extra_ids), block.form)


class PhraseTable:
    """All phrases of a prompt, numbered: empty, a lone end, the end of sequence, words, blocks.

    `starts`, int32 [phrases], is where each begins among the tokens; for the other columns see
    `Encoded`.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        vocabulary: seqio.SentencePieceVocabulary,
        words: Sequence[tuple[str, ...]],
        blocks: Sequence[Block],
    ):
        """Encodes words, each tuple's variants one after the other, and blocks."""
        model, extra_ids = str(vocabulary.sentencepiece_model_file), vocabulary.extra_ids
        parts: dict[tuple[str, ...] | Block, Encoded] = {
            _LONE: Encoded.of(_LONE, vocabulary),
            _LAST: Encoded.token(vocabulary.eos_id),
            **{texts: Encoded.of(texts, vocabulary) for texts in words},
        }
        for block in dict.fromkeys(blocks):
            parts[block] = encoded_block(dataset, block, model, extra_ids)
        ends = np.cumsum([len(part.lengths) for part in parts.values()]).tolist()
        self._numbers = {
            phrases: slice(end - len(part.lengths), end)
            for (phrases, part), end in zip(parts.items(), ends, strict=True)
        }
        columns = (
            np.concatenate([getattr(part, field.name) for part in parts.values()])
            for field in dataclasses.fields(Encoded)
        )
        with tf.init_scope():
            self.tokens, self.lengths, self.bare, self._cut = (
                tf.constant(column, tf.int32) for column in columns
            )
            self.starts = tf.cumsum(self.lengths, exclusive=True)
        self.shortened_end = int(self.lengths[SHORTENED_END])

    def first(self, phrases: tuple[str, ...] | Block) -> int:
        """The number of the first of some words, or of a block's phrase for the number 0."""
        return self._numbers[phrases].start

    def lengths_of(self, phrases: tuple[str, ...] | Block) -> np.ndarray:
        """int32 [numbers]: tokens of some words, or of a block's phrases."""
        return self.lengths.numpy()[self._numbers[phrases]]

    def least(self, block: Block) -> np.ndarray:
        """int32 [numbers]: tokens of the block's phrases, cut as short as they can be."""
        end = self.shortened_end if block.form.end else 0
        bare = self.bare.numpy()[self._numbers[block]]
        return np.minimum(self.lengths_of(block), bare + end)

    def join(self, phrase_BxP: tf.Tensor, length_BxP: tf.Tensor) -> tf.RaggedTensor:
        """int32 [B, (tokens)]: the first tokens of phrases, one after the other."""
        shown_BxP = tf.where(length_BxP > 0, phrase_BxP, EMPTY)
        is_cut = tf.reduce_any(length_BxP < tf.gather(self.lengths, shown_BxP))

        # Whole phrases, the usual case, are copied by the block, in two thirds of the time.
        def whole() -> tf.Tensor:
            table = tf.RaggedTensor.from_row_lengths(self.tokens, self.lengths, validate=False)
            return tf.gather(table, tf.reshape(shown_BxP, [-1])).flat_values

        def cut() -> tf.Tensor:
            return join(self.tokens, tf.gather(self.starts, shown_BxP), length_BxP).flat_values

        return tf.RaggedTensor.from_row_lengths(
            tf.cond(is_cut, cut, whole),
            tf.cast(tf.reduce_sum(length_BxP, axis=1), tf.int64),
            validate=False,
        )

    def cut_to(self, phrase: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
        """int32, where each phrase is cut when `limit` tokens of it fit (less than it has)."""
        place = tf.gather(self.starts, phrase) + limit
        return tf.gather(self._cut, tf.minimum(place, tf.size(self._cut) - 1))


def join(tokens: tf.Tensor, start_BxP: tf.Tensor, length_BxP: tf.Tensor) -> tf.RaggedTensor:
    """int32 [B, (tokens)]: pieces of a pool of tokens, one after the other."""
    places = tf.ragged.range(tf.reshape(start_BxP, [-1]), tf.reshape(start_BxP + length_BxP, [-1]))
    return tf.RaggedTensor.from_row_lengths(
        tf.gather(tokens, places.flat_values),
        tf.cast(tf.reduce_sum(length_BxP, axis=1), tf.int64),
        validate=False,
    )
