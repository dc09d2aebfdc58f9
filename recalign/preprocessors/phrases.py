"""Token ids of everything that stands between two spaces of a prompt, computed once.

SentencePiece never crosses white space, so the ids of a prompt are the ids of its phrases, one
after the other: a prompt is a row of phrase numbers, and its tokens are one gather.

One exception, measured: a unigram model sums scores in float32, and over hundreds of tokens the
rounding decides near-ties. Tokenized whole, 13 of 1,500 ranking prompts of Toys write "I4900," as
4|900 instead of 49|00. Joined, an item has the same tokens wherever it stands.
"""

import dataclasses
import functools
import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

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


class Phrases(NamedTuple):
    """Phrases as token ids, columnar, int32: arrays, or the tensors of a table."""

    tokens: Any  # [total]
    lengths: Any  # [phrases]
    bare: Any  # [phrases], tokens that stay however much is cut; all of what is never cut
    cut: Any  # [total]; a phrase that may keep the tokens before this one is cut to so many

    def cut_to(self, phrase: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
        """int32, where each phrase is cut when `limit` tokens of it fit (less than it has)."""
        place = tf.gather(tf.cumsum(self.lengths, exclusive=True), phrase) + limit
        return tf.gather(self.cut, tf.minimum(place, tf.size(self.cut) - 1))

    def join(self, phrase_BxP: tf.Tensor, length_BxP: tf.Tensor) -> tf.RaggedTensor:
        """int32 [B, (tokens)]: the first tokens of phrases, one after the other."""
        shown_BxP = tf.where(length_BxP > 0, phrase_BxP, EMPTY)
        is_cut = tf.reduce_any(length_BxP < tf.gather(self.lengths, shown_BxP))
        # Whole phrases, the usual case, are copied by the block, in two thirds of the time.
        table = tf.RaggedTensor.from_row_lengths(self.tokens, self.lengths, validate=False)

        def whole() -> tf.Tensor:
            return tf.gather(table, tf.reshape(shown_BxP, [-1])).flat_values

        def cut() -> tf.Tensor:
            start_BxP = tf.cast(tf.gather(table.row_starts(), shown_BxP), tf.int32)
            return join(self.tokens, start_BxP, length_BxP).flat_values

        return tf.RaggedTensor.from_row_lengths(
            tf.cond(is_cut, cut, whole),
            tf.cast(tf.reduce_sum(length_BxP, axis=1), tf.int64),
            validate=False,
        )


def concatenated(parts: Iterable[Phrases]) -> Phrases:
    """Phrases one after the other, as tensors."""
    return Phrases(*(tf.concat(columns, axis=0) for columns in zip(*parts, strict=True)))


def encoded(texts: Sequence[str], vocabulary: Any, form: Form | None = None) -> Phrases:
    """Texts as arrays, to be cut as the form says; None for never."""
    tokenizer = vocabulary.tokenizer
    ids = tokenizer.EncodeAsIds([plain_text(text) for text in texts]) if len(texts) else []
    lengths = np.array([len(i) for i in ids], np.int32)
    tokens = np.fromiter(itertools.chain.from_iterable(ids), np.int32, int(lengths.sum()))
    # Of each token: where its phrase starts, and its place in the phrase.
    start = np.repeat(np.cumsum(lengths, dtype=np.int32) - lengths, lengths)
    place = np.arange(len(tokens), dtype=np.int32) - start
    if form is None or not form.cut:
        return Phrases(tokens, lengths, lengths, place)
    if not form.between_words:
        return Phrases(tokens, lengths, np.minimum(lengths, 1), place)
    used, piece = np.unique(tokens, return_inverse=True)
    has_space = [tokenizer.IdToPiece(int(i)).startswith(_SPACE) for i in used]
    starts_word = np.array(has_space, bool)[piece] | (place == 0)
    cut = np.maximum.accumulate(np.where(starts_word, start + place, 0)) - start
    words = np.cumsum(starts_word)
    may_go = starts_word & (words - words[start] == form.uncut_words)
    bare = lengths.copy()
    bare[np.repeat(np.arange(len(texts)), lengths)[may_go]] = np.maximum(place[may_go], 1)
    return Phrases(tokens, lengths, bare, cut)


@functools.lru_cache(64)
def encoded_block(dataset: PreparedDataset, block: Block, model: str, extra_ids: int) -> Phrases:
    """A phrase for every number of the block's form, by the vocabulary of a SentencePiece file."""
    texts = [f"{block.prefix}{text}{block.suffix}" for text in block.form.texts_of(dataset)]
    return encoded(texts, seqio.SentencePieceVocabulary(model, extra_ids), block.form)


def encoded_texts(text_N: tf.Tensor, vocabulary: seqio.SentencePieceVocabulary) -> Phrases:
    """Texts of the log, string [N], as tensors, to be cut anywhere but before the first token."""
    ragged = vocabulary.tf_tokenizer.tokenize(plain_texts(text_N))
    length_N = tf.cast(ragged.row_lengths(), tf.int32)
    place = tf.ragged.range(length_N).flat_values
    tokens = tf.cast(ragged.flat_values, tf.int32)
    return Phrases(tokens, length_N, tf.minimum(length_N, 1), place)


class PhraseTable:
    """All phrases of a prompt, numbered: empty, a lone end, the end of sequence, words, blocks."""

    def __init__(
        self,
        dataset: PreparedDataset,
        vocabulary: seqio.SentencePieceVocabulary,
        words: Iterable[tuple[str, ...]],
        blocks: Iterable[Block],
    ):
        """Encodes words, each tuple's variants one after the other, and blocks."""
        model, extra_ids = str(vocabulary.sentencepiece_model_file), vocabulary.extra_ids
        one = np.ones(1, np.int32)
        parts: dict[tuple[str, ...] | Block, Phrases] = {
            _LONE: encoded(_LONE, vocabulary),
            _LAST: Phrases(vocabulary.eos_id * one, one, one, 0 * one),
            **{texts: encoded(texts, vocabulary) for texts in words},
            **{block: encoded_block(dataset, block, model, extra_ids) for block in blocks},
        }
        ends = itertools.accumulate(len(part.lengths) for part in parts.values())
        self._numbers = {
            phrases: slice(end - len(part.lengths), end)
            for (phrases, part), end in zip(parts.items(), ends, strict=True)
        }
        with tf.init_scope():
            self.phrases = concatenated(parts.values())
        self._lengths, self._bare = self.phrases.lengths.numpy(), self.phrases.bare.numpy()
        self.size = len(self._lengths)
        self.shortened_end = int(self._lengths[SHORTENED_END])

    def first(self, phrases: tuple[str, ...] | Block) -> int:
        """The number of the first of some words, or of a block's phrase for the number 0."""
        return self._numbers[phrases].start

    def lengths_of(self, phrases: tuple[str, ...] | Block) -> np.ndarray:
        """int32 [numbers]: tokens of some words, or of a block's phrases."""
        return self._lengths[self._numbers[phrases]]

    def least(self, block: Block) -> np.ndarray:
        """int32 [numbers]: tokens of the block's phrases, cut as short as they can be."""
        end = self.shortened_end if block.form.end else 0
        return np.minimum(self.lengths_of(block), self._bare[self._numbers[block]] + end)


def join(tokens: tf.Tensor, start_BxP: tf.Tensor, length_BxP: tf.Tensor) -> tf.RaggedTensor:
    """int32 [B, (tokens)]: pieces of a pool of tokens, one after the other."""
    places = tf.ragged.range(tf.reshape(start_BxP, [-1]), tf.reshape(start_BxP + length_BxP, [-1]))
    return tf.RaggedTensor.from_row_lengths(
        tf.gather(tokens, places.flat_values),
        tf.cast(tf.reduce_sum(length_BxP, axis=1), tf.int64),
        validate=False,
    )
