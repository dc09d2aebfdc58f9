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
from collections.abc import Sequence
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from recalign import prompts
from recalign.data.prepared import PreparedDataset
from recalign.preprocessors.memo import once_per_dataset

EMPTY = 0
"""The number of the phrase without tokens."""

_SPACE = "▁"

Block = tuple[str, str] | str
"""Names a list of phrases that has one for every item: a key of `_BLOCKS`, or ("value", field)."""

_BLOCKS = {
    "item;": f"{prompts.ITEM}{prompts.ITEM_END}",
    "item": prompts.ITEM,
    "id": "{id}",
    "id,": f"{{id}}{prompts.CANDIDATE_SEPARATOR}",
    "id.": f"{{id}}{prompts.CANDIDATES_END}",
    "id?": f"{{id}}{prompts.ASKED_ID_END}",
}

_WORDS_BEFORE_THE_TITLE = len(prompts.ITEM.split("{title}")[0].split())


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Phrases as token ids, columnar.

    Attributes:
        tokens: int32 [total].
        lengths: int32 [phrases].
        bare: int32 [phrases], the tokens that stay when the title is cut away; all of them where a
            phrase has no title.
        cut: int32 [total]: a phrase that may keep the tokens before this one at most is cut to
            this many tokens, the end of the last word that fits.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    bare: np.ndarray
    cut: np.ndarray

    @classmethod
    def of(cls, texts: Sequence[str], vocabulary: Any, uncut_words: int | None = None) -> "Encoded":
        """Encodes texts; of each, the first `uncut_words` words are never cut (None: all words)."""
        tokenizer = vocabulary.tokenizer
        ids = tokenizer.EncodeAsIds(list(texts)) if texts else []
        lengths = np.array([len(i) for i in ids], np.int32)
        tokens = np.fromiter((t for i in ids for t in i), np.int32, int(lengths.sum()))
        used, piece = np.unique(tokens, return_inverse=True)
        starts_word = np.array(
            [tokenizer.IdToPiece(int(i)).startswith(_SPACE) for i in used], bool
        )[piece]
        starts = np.cumsum(lengths) - lengths
        place = np.arange(len(tokens)) - np.repeat(starts, lengths)
        starts_word |= place == 0
        flat = np.arange(len(tokens))
        cut = np.maximum.accumulate(np.where(starts_word, flat, 0)) - (flat - place)
        bare = lengths.copy()
        if uncut_words is not None:
            phrase = np.repeat(np.arange(len(texts)), lengths)
            words_before = np.cumsum(starts_word) - starts_word
            word = words_before - np.repeat(words_before[starts], lengths)
            title = starts_word & (word == uncut_words)
            bare[phrase[title]] = place[title]
        return cls(tokens, lengths, bare, cut.astype(np.int32))


def vocabulary_key(vocabulary: seqio.SentencePieceVocabulary) -> tuple[str, int]:
    """What distinguishes vocabularies."""
    return str(vocabulary.sentencepiece_model_file), vocabulary.extra_ids


@once_per_dataset
def encoded_block(
    dataset: PreparedDataset, block: Block, vocabulary: "HashableVocabulary"
) -> Encoded:
    """A phrase for every item of the catalogue, in index order."""
    catalogue = dataset.catalogue
    if isinstance(block, tuple):
        return Encoded.of(item_values(dataset, block[1]), vocabulary.plain)
    items = zip(catalogue.ids, catalogue.titles, strict=True)
    texts = [_BLOCKS[block].format(id=id_, title=title) for id_, title in items]
    titled = "{title}" in _BLOCKS[block]
    return Encoded.of(texts, vocabulary.plain, _WORDS_BEFORE_THE_TITLE if titled else None)


def item_values(dataset: PreparedDataset, field: str) -> list[str]:
    """A content field of every item as text, "" where it is unknown."""
    values = dataset.catalogue.table[field].to_pylist()
    if field == "categories":
        return [", ".join(value) for value in values]
    return [value or "" for value in values]


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


class PhraseTable:
    """All phrases of a task, numbered: 0 is empty, then words, then the blocks.

    Attributes:
        lengths: int32 [phrases], as numpy, for computing what a prompt needs at least.
        bare: int32 [phrases], as numpy.
        eos: the number of the phrase that is the end of sequence alone.
        shortened_end: the number of the phrase after a title that was cut.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        vocabulary: seqio.SentencePieceVocabulary,
        words: Sequence[str],
        blocks: Sequence[Block],
    ):
        if vocabulary.eos_id is None or vocabulary.eos_id < 0:
            raise ValueError(f"{vocabulary} has no end of sequence")
        hashable = HashableVocabulary(vocabulary)
        words = list(dict.fromkeys([prompts.SHORTENED_END.strip(), *filter(None, words)]))
        one_token = np.array([vocabulary.eos_id], np.int32)
        ends = Encoded(one_token, np.array([0, 1]), np.array([0, 1]), np.zeros(1, np.int32))
        parts = [ends, Encoded.of(words, vocabulary)]
        self.eos = 1
        self._words = {"": EMPTY} | {text: 2 + n for n, text in enumerate(words)}
        self.shortened_end = self._words[prompts.SHORTENED_END.strip()]
        self._blocks: dict[Block, int] = {}
        for block in dict.fromkeys(blocks):
            self._blocks[block] = sum(len(part.lengths) for part in parts)
            parts.append(encoded_block(dataset, block, hashable))
        self.items = len(dataset.catalogue.ids)
        self.lengths = np.concatenate([part.lengths for part in parts]).astype(np.int32)
        self.bare = np.concatenate([part.bare for part in parts]).astype(np.int32)
        with tf.init_scope():
            self._tokens = tf.constant(np.concatenate([part.tokens for part in parts]), tf.int32)
            self._cut = tf.constant(np.concatenate([part.cut for part in parts]), tf.int32)
            self._starts = tf.constant(np.cumsum(self.lengths) - self.lengths, tf.int32)
            self._lengths = tf.constant(self.lengths, tf.int32)
            self._bare = tf.constant(self.bare, tf.int32)

    def word(self, text: str) -> int:
        """The number of a phrase of fixed words."""
        return self._words[text]

    def first(self, block: Block) -> int:
        """The number of the block's phrase for item 0; the others follow."""
        return self._blocks[block]

    def longest(self, block: Block, *, bare: bool = False, count: int = 1) -> int:
        """Tokens of the block's `count` longest phrases together."""
        first = self._blocks[block]
        lengths = (self.bare if bare else self.lengths)[first : first + self.items]
        return int(np.sort(lengths)[-count:].sum())

    def of_items(self, block: Block, item: tf.Tensor) -> tf.Tensor:
        """The numbers of the block's phrases for these items; `EMPTY` for negative ones."""
        return tf.where(item >= 0, item + self._blocks[block], EMPTY)

    def tokens_in(self, phrase: tf.Tensor) -> tf.Tensor:
        """int32, the number of tokens of each phrase."""
        return tf.gather(self._lengths, phrase)

    def bare_tokens_in(self, phrase: tf.Tensor) -> tf.Tensor:
        """int32, the number of tokens of each phrase without its title."""
        return tf.gather(self._bare, phrase)

    def cut_to(self, phrase: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
        """int32, where each phrase is cut when `limit` tokens of it fit (less than it has)."""
        return tf.gather(self._cut, tf.gather(self._starts, phrase) + limit)

    def join(self, phrase_BxP: tf.Tensor, length_BxP: tf.Tensor) -> tf.RaggedTensor:
        """int32 [B, (tokens)]: the first `length` tokens of each phrase, one after the other."""
        start_BxP = tf.gather(self._starts, phrase_BxP)
        places = tf.ragged.range(
            tf.reshape(start_BxP, [-1]), tf.reshape(start_BxP + length_BxP, [-1])
        )
        return tf.RaggedTensor.from_row_lengths(
            tf.gather(self._tokens, places.flat_values),
            tf.cast(tf.reduce_sum(length_BxP, axis=1), tf.int64),
            validate=False,
        )
