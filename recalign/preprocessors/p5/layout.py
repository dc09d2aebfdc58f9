"""P5's templates as matrices, so that a batch in which every row has another one is one gather."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import seqio
import tensorflow as tf

from recalign import prompts
from recalign.data.prepared import PreparedDataset
from recalign.preprocessors.fitting import keep_recent
from recalign.preprocessors.memo import once_per_dataset
from recalign.preprocessors.p5.templates import LISTS, TEXTS, Field, Part, Template, Words
from recalign.preprocessors.phrases import EMPTY, Encoded, HashableVocabulary

ANSWERS = {"yes_no": prompts.ANSWERS, "like_dislike": ("dislike", "like")}
"""The answers of each kind, by the number that stands for them."""

_CUT_FIRST = ("review", "explanation", "headline", "item_title", "feature")
"""What is cut when a prompt is too long, after old history: the first to be cut first."""

_EOS, _FIRST_WORD = 1, 2


@once_per_dataset
def _encoded(dataset: PreparedDataset, field: Field, vocabulary: HashableVocabulary) -> Encoded:
    """A phrase for every value that a field can have, in the order of the values' numbers."""
    if field.name in ("user_id", "user_name"):
        users = dataset.sequences("train").users
        values = [f"user_{n}" for n in range(1, len(users) + 1)]
        values = values if field.name == "user_id" else users
    elif field.name == "item_title":
        items = zip(dataset.catalogue.titles, dataset.catalogue.ids, strict=True)
        values = [title or id_ for title, id_ in items]
    elif field.name == "star_rating":
        values = [f"{stars:g}" for stars in star_values(dataset)]
    else:
        values = list(ANSWERS.get(field.name, dataset.catalogue.ids))
    return Encoded.of(
        [f"{field.prefix}{value}{field.suffix}" for value in values], vocabulary.plain
    )


def star_values(dataset: PreparedDataset) -> np.ndarray:
    """The ratings that occur in training, ascending: their places are the stars' numbers."""
    ratings = dataset.sequences("train").ratings
    return np.unique(np.zeros(1, np.float32) if ratings is None else ratings)


@dataclasses.dataclass(frozen=True)
class Values:
    """What the fields of a batch show.

    Attributes:
        numbers: int32 [B, n] for each field but texts: of users, items, stars or answers; negative
            where there is nothing. One column but for lists.
        texts: string [B] for each text.
    """

    numbers: Mapping[str, tf.Tensor]
    texts: Mapping[str, tf.Tensor]


class SideLayout:
    """The inputs, or the targets, of some templates.

    A row of the batch is a row of columns; a column is a phrase: the template says where in the
    table of phrases its kind begins, and which of the sample's values to add. Texts are phrases of
    a table that is made for the batch.
    """

    def __init__(
        self,
        sides: Sequence[Sequence[Part]],
        dataset: PreparedDataset,
        vocabulary: seqio.SentencePieceVocabulary,
        widths: Mapping[str, int],
    ):
        """Lays out the sides of a family's templates.

        Args:
            sides: the parts of each template.
            dataset: the prepared dataset.
            vocabulary: of the tokens.
            widths: the number of items of each list.
        """
        fields = list(dict.fromkeys(p.name for side in sides for p in side if isinstance(p, Field)))
        self._numbers = [name for name in fields if name not in TEXTS]
        self.texts = [name for name in fields if name in TEXTS]
        self._vocabulary = vocabulary
        self._widths = {name: widths.get(name, 1) for name in self._numbers}
        self._table(sides, dataset, vocabulary)
        # The values stand side by side, a zero for fixed words first.
        places = {}
        width = 1
        for name in self._numbers:
            places[name] = width
            width += self._widths[name]
        rows = [self._row(side, places) for side in sides]
        longest = max(len(row) for row in rows)
        filled = np.array([row + [(EMPTY, 0, -1, 0)] * (longest - len(row)) for row in rows])
        with tf.init_scope():
            self._first_TxL, self._value_TxL, self._text_TxL, self._cut_TxL = (
                tf.constant(filled[:, :, n], tf.int32) for n in range(4)
            )
        self.least = max(self._least(side) for side in sides)

    def _table(
        self,
        sides: Sequence[Sequence[Part]],
        dataset: PreparedDataset,
        vocabulary: seqio.SentencePieceVocabulary,
    ) -> None:
        hashable = HashableVocabulary(vocabulary)
        words = list(dict.fromkeys(p.text for s in sides for p in s if isinstance(p, Words)))
        end = np.array([vocabulary.eos_id], np.int32)
        parts = [
            Encoded(end, np.array([0, 1]), np.array([0, 1]), np.zeros(1, np.int32)),
            Encoded.of(words, vocabulary),
        ]
        self._firsts: dict[Part, int] = {Words(w): _FIRST_WORD + n for n, w in enumerate(words)}
        self._phrases: dict[Part, int] = {Words(w): 1 for w in words}
        for side in sides:
            for field in _blocks(side):
                if field not in self._firsts:
                    self._firsts[field] = sum(len(part.lengths) for part in parts)
                    parts.append(_encoded(dataset, field, hashable))
                    self._phrases[field] = len(parts[-1].lengths)
        self._lengths_P = np.concatenate([part.lengths for part in parts]).astype(np.int32)
        with tf.init_scope():
            self._tokens = tf.constant(np.concatenate([part.tokens for part in parts]), tf.int32)
            self._lengths = tf.constant(self._lengths_P)
            self._starts = tf.constant(np.cumsum(self._lengths_P) - self._lengths_P, tf.int32)
            self._cut = tf.constant(np.concatenate([part.cut for part in parts]), tf.int32)

    def _row(
        self, side: Sequence[Part], places: Mapping[str, int]
    ) -> list[tuple[int, int, int, int]]:
        """For each column: the first phrase of its kind, the value to add, which text, when to cut.

        The text is -1 where the column is none, the order of cutting 0 where it is not cut.
        """
        row = []
        for part in side:
            if isinstance(part, Words):
                row.append((self._firsts[part], 0, -1, 0))
            elif part.name in TEXTS:
                row.append((EMPTY, 0, self.texts.index(part.name), _cut_order(part.name)))
            else:
                blocks = _blocks([part])
                for column in range(self._widths[part.name]):
                    is_last = column == self._widths[part.name] - 1
                    first = self._firsts[blocks[-1] if is_last else blocks[0]]
                    place = places[part.name] + column
                    row.append((first, place, -1, _cut_order(part.name)))
        return [*row, (_EOS, 0, -1, 0)]

    def _least(self, side: Sequence[Part]) -> int:
        """Tokens in the worst case: one item of history, a token of each text and title, EOS."""
        least = 1
        for part in side:
            if isinstance(part, Field) and (part.name in TEXTS or part.name == "item_title"):
                least += 1
                continue
            blocks = _blocks([part]) if isinstance(part, Field) else [part]
            first = self._firsts[blocks[-1]]
            lengths = self._lengths_P[first : first + self._phrases[blocks[-1]]]
            least += int(lengths.max(initial=0))
            if isinstance(part, Field) and part.name == "candidates":
                first = self._firsts[blocks[0]]
                lengths = self._lengths_P[first : first + self._phrases[blocks[0]]]
                count = self._widths["candidates"] - 1
                least += int(np.sort(lengths)[len(lengths) - count :].sum()) if count else 0
        return least

    def kept_history(self, template_B: tf.Tensor, values: Values, budget: int | None) -> tf.Tensor:
        """bool [B, w]: which items of the history stay; the oldest leave first."""
        phrase_BxL, value_BxL, length_BxL, _ = self._columns(template_B, values)
        del phrase_BxL
        width = self._widths["history"]
        first = 1 + sum(
            self._widths[name] for name in self._numbers[: self._numbers.index("history")]
        )
        # Every template of the family shows its history in neighbouring columns.
        is_history_BxL = (value_BxL >= first) & (value_BxL < first + width)
        cost_BxW = tf.reshape(
            tf.boolean_mask(length_BxL, is_history_BxL), [tf.shape(length_BxL)[0], width]
        )
        fixed_B = tf.reduce_sum(length_BxL, axis=1) - tf.reduce_sum(cost_BxW, axis=1)
        return (values.numbers["history"] >= 0) & keep_recent(cost_BxW, fixed_B, budget)

    def tokens(self, template_B: tf.Tensor, values: Values, budget: int | None) -> tf.RaggedTensor:
        """int32 [B, (tokens)]: each row in its template's words, EOS included."""
        _, _, length_BxL, (start_BxL, tokens) = self._columns(template_B, values)
        if budget is not None:
            length_BxL = self._fitted(template_B, length_BxL, start_BxL, budget)
        places = tf.ragged.range(
            tf.reshape(start_BxL, [-1]), tf.reshape(start_BxL + length_BxL, [-1])
        )
        return tf.RaggedTensor.from_row_lengths(
            tf.gather(tokens, places.flat_values),
            tf.cast(tf.reduce_sum(length_BxL, axis=1), tf.int64),
            validate=False,
        )

    def _columns(
        self, template_B: tf.Tensor, values: Values
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tuple[tf.Tensor, tf.Tensor]]:
        """Phrases, values' places, lengths, and (starts, the tokens that they are places in)."""
        zero_Bx1 = tf.zeros([tf.shape(template_B)[0], 1], tf.int32)
        value_BxV = tf.concat(
            [zero_Bx1, *(tf.cast(values.numbers[name], tf.int32) for name in self._numbers)], axis=1
        )
        value_BxL = tf.gather(self._value_TxL, template_B)
        number_BxL = tf.gather(value_BxV, value_BxL, batch_dims=1)
        phrase_BxL = tf.gather(self._first_TxL, template_B) + number_BxL
        phrase_BxL = tf.where(number_BxL >= 0, phrase_BxL, EMPTY)
        length_BxL = tf.gather(self._lengths, phrase_BxL)
        start_BxL = tf.gather(self._starts, phrase_BxL)
        if not self.texts:
            return phrase_BxL, value_BxL, length_BxL, (start_BxL, self._tokens)
        batch = tf.shape(template_B)[0]
        text_XB = tf.concat([values.texts[name] for name in self.texts], axis=0)
        ragged = self._vocabulary.tf_tokenizer.tokenize(text_XB)
        shape = [len(self.texts), batch]
        text_length_BxX = tf.transpose(tf.reshape(ragged.row_lengths(), shape))
        text_start_BxX = tf.transpose(tf.reshape(ragged.row_starts(), shape))
        text_BxL = tf.gather(self._text_TxL, template_B)
        is_text_BxL = text_BxL >= 0
        column_BxL = tf.maximum(text_BxL, 0)

        def of_texts(value_BxX: tf.Tensor) -> tf.Tensor:
            return tf.cast(tf.gather(value_BxX, column_BxL, batch_dims=1), tf.int32)

        start_BxL = tf.where(
            is_text_BxL, of_texts(text_start_BxX) + tf.size(self._tokens), start_BxL
        )
        length_BxL = tf.where(is_text_BxL, of_texts(text_length_BxX), length_BxL)
        tokens = tf.concat([self._tokens, tf.cast(ragged.flat_values, tf.int32)], axis=0)
        return phrase_BxL, value_BxL, length_BxL, (start_BxL, tokens)

    def _fitted(
        self, template_B: tf.Tensor, length_BxL: tf.Tensor, start_BxL: tf.Tensor, budget: int
    ) -> tf.Tensor:
        """int32 [B, L]: texts and titles cut, one kind after the other, until the rest fits."""
        cut_BxL = tf.gather(self._cut_TxL, template_B)
        for order, name in enumerate(_CUT_FIRST, start=1):
            if name not in self.texts and name not in self._numbers:
                continue
            over_Bx1 = tf.reduce_sum(length_BxL, axis=1, keepdims=True) - budget
            is_cut_BxL = tf.equal(cut_BxL, order) & (over_Bx1 > 0) & (length_BxL > 1)
            limit_BxL = tf.maximum(1, length_BxL - over_Bx1)
            if name == "item_title":
                # Between words, where that leaves anything.
                place_BxL = tf.minimum(start_BxL + limit_BxL, tf.size(self._cut) - 1)
                words_BxL = tf.gather(self._cut, tf.where(is_cut_BxL, place_BxL, 0))
                limit_BxL = tf.where(words_BxL > 0, words_BxL, limit_BxL)
            length_BxL = tf.where(is_cut_BxL, tf.minimum(limit_BxL, length_BxL), length_BxL)
        return length_BxL


def _blocks(side: Sequence[Part]) -> list[Field]:
    """The lists of phrases that a side needs: of a list's items, those before the last, and it."""
    blocks = []
    for part in side:
        if isinstance(part, Words) or part.name in TEXTS:
            continue
        if part.name in LISTS:
            blocks.append(Field("item_id", suffix=prompts.CANDIDATE_SEPARATOR))
            blocks.append(Field("item_id", suffix=part.suffix))
        else:
            blocks.append(part)
    return blocks


def _cut_order(name: str) -> int:
    return _CUT_FIRST.index(name) + 1 if name in _CUT_FIRST else 0


class TemplateLayout:
    """Inputs and targets of a family's templates."""

    def __init__(
        self,
        templates: Sequence[Template],
        dataset: PreparedDataset,
        vocabulary: seqio.SentencePieceVocabulary,
        widths: Mapping[str, int],
    ):
        self.inputs = SideLayout([t.inputs for t in templates], dataset, vocabulary, widths)
        self.targets = SideLayout([t.targets for t in templates], dataset, vocabulary, widths)
