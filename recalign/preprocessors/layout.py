"""The one engine that turns prompts into tokens: a row of phrases for each example, joined.

An example is a row of columns. Its template says of each column where its kind of phrase begins in
the table, and which of the example's numbers to add. A text that the batch holds as a string is a
phrase of a table made for the batch. Of several templates an example's `drawn_template` chooses.
"""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import seqio
import tensorflow as tf

from recalign.data.prepared import PreparedDataset
from recalign.preprocessors.fields import FieldType, Form
from recalign.preprocessors.fitting import keep_recent, shorten
from recalign.preprocessors.phrases import (
    EMPTY,
    END_OF_SEQUENCE,
    SHORTENED_END,
    Block,
    PhraseTable,
    join,
    plain_texts,
)
from recalign.preprocessors.settings import TaskSettings
from recalign.wording import Field, Sentence, Template, Words

Fields = Mapping[str, tf.Tensor]


def form_of(field: Field, types: Mapping[str, FieldType]) -> Form | None:
    """How a prompt writes a field; None for a text."""
    forms = types[field.name].forms
    return forms[field.form] if field.form else next(iter(forms.values()), None)


class Layout:
    """The inputs and the targets of a prompt, or of several that are drawn."""

    def __init__(
        self,
        templates: Sequence[Template],
        types: Mapping[str, FieldType],
        dataset: PreparedDataset,
        vocabulary: seqio.SentencePieceVocabulary,
        settings: TaskSettings,
    ):
        self.templates = templates
        self.types = types
        self.vocabulary = vocabulary
        arguments = (types, dataset, vocabulary, settings)
        self.inputs = Side([t.inputs for t in templates], *arguments)
        self.targets = Side([t.targets for t in templates], *arguments)

    def side(self, feature: str) -> "Side":
        """The side that becomes this feature, "inputs" or "targets"."""
        return self.inputs if feature == "inputs" else self.targets


@dataclasses.dataclass(frozen=True)
class _Column:
    """A column of a template."""

    first: int = EMPTY  # the phrase of the number 0
    value: int = 0  # the place of its number in the row of numbers; 0 holds a zero
    text: int = -1  # which text it is; -1 for none
    turn: int = 0  # in which turn it is cut; 0 for never
    field: str = ""  # the field that it shows; "" for words and ends
    is_end: bool = False  # whether it stands there only after a cut


class Side:
    """The inputs, or the targets, of some templates."""

    def __init__(
        self,
        sides: Sequence[Sequence[Sentence]],
        types: Mapping[str, FieldType],
        dataset: PreparedDataset,
        vocabulary: seqio.SentencePieceVocabulary,
        settings: TaskSettings,
    ):
        self._types, self._vocabulary = types, vocabulary
        parts = [part for side in sides for sentence in side for part in sentence]
        names = list(dict.fromkeys(part.name for part in parts if isinstance(part, Field)))
        self._names = [name for name in names if types[name].forms]
        self._texts = [name for name in names if not types[name].forms]
        self._widths = {name: types[name].width(settings) for name in self._names}
        blocks = [b for part in parts if isinstance(part, Field) for b in self._blocks(part)]
        words = list(dict.fromkeys(p.variants for p in parts if isinstance(p, Words)))
        self.table = PhraseTable(dataset, vocabulary, words, blocks)
        *places, self._size = itertools.accumulate(self._widths.values(), initial=1)
        self._places = dict(zip(self._names, places, strict=True))
        # Numbers beside the fields': 0 or 1 for the variant of a sentence's words, -1 for none.
        self._variants: list[tuple[Sequence[Sentence], int, int]] = []
        rows = [[*self._row(side), _Column(END_OF_SEQUENCE)] for side in sides]
        longest = max(map(len, rows))
        self._rows = [row + [_Column()] * (longest - len(row)) for row in rows]
        self.least = max(self._least(side) for side in sides)
        self._masks = {
            part.name: int(self.table.lengths_of(self._blocks(part)[1])[-1])
            for part in parts
            if isinstance(part, Field) and types[part.name].in_window
        }
        cost_of_words_T = [1 + sum(map(self._words_cost, side)) for side in sides]
        with tf.init_scope():
            self._first = self._matrix(lambda column: column.first)
            self._value = self._matrix(lambda column: column.value)
            self._text = self._matrix(lambda column: column.text)
            self._ends = self._matrix(lambda column: not column.is_end)
            self._cost_of_words = tf.constant(cost_of_words_T, tf.int32)

    def shows(self, field: str) -> bool:
        """Whether any template shows the field."""
        return field in self._names or field in self._texts

    # Columns --------------------------------------------------------------------------------------

    def _blocks(self, field: Field) -> tuple[Block, ...]:
        """The phrases of a field's numbers before the last one, and of the last."""
        form = form_of(field, self._types)
        if form is None:
            return ()
        last = Block(form, field.prefix, f"{form.end}{field.suffix}")
        return Block(form, field.prefix, f"{form.end}{form.separator}"), last

    def _row(self, sentences: Sequence[Sentence]) -> list[_Column]:
        row: list[_Column] = []
        for number, sentence in enumerate(sentences):
            for part in sentence:
                if isinstance(part, Words):
                    value = self._variant(sentences, number, part)
                    row.append(_Column(self.table.first(part.variants), value))
                elif part.name in self._texts:
                    turn = self._types[part.name].cut
                    text = self._texts.index(part.name)
                    row.append(_Column(text=text, turn=turn, field=part.name))
                else:
                    row.extend(self._columns_of(part))
        return row

    def _columns_of(self, field: Field) -> list[_Column]:
        other, last = self._blocks(field)
        width = self._widths[field.name]
        columns: list[_Column] = []
        for number in range(width):
            is_last = number == width - 1
            # Of a list that may lose its first items, only the last one is cut.
            is_cut = is_last or not self._types[field.name].dropped
            turn = last.form.cut if is_cut else 0
            first = self.table.first(last if is_last else other)
            columns.append(
                _Column(first, self._places[field.name] + number, turn=turn, field=field.name)
            )
            if turn and last.form.end:
                columns.append(_Column(SHORTENED_END, is_end=True))
        return columns

    def _variant(self, sentences: Sequence[Sentence], number: int, words: Words) -> int:
        """The place of the number that says which variant of a sentence's words is shown."""
        if len(words.variants) == 1 and not self._is_optional(sentences[number]):
            return 0
        key = (sentences, number, len(words.variants) - 1)
        if key not in self._variants:
            self._variants.append(key)
        return self._size + self._variants.index(key)

    def _is_optional(self, sentence: Sentence) -> bool:
        fields = [part for part in sentence if isinstance(part, Field)]
        return bool(fields) and all(self._types[field.name].optional for field in fields)

    def _matrix(self, of: Callable[[_Column], int]) -> tf.Tensor:
        return tf.constant([[int(of(column)) for column in row] for row in self._rows], tf.int32)

    def _of_template(self, matrix_TxL: tf.Tensor, fields: Fields) -> tf.Tensor:
        """int32 [B, L], or [1, L] where there is one template."""
        if len(self._rows) == 1:
            return matrix_TxL
        return tf.gather(matrix_TxL, fields["drawn_template"])

    # Least lengths --------------------------------------------------------------------------------

    def _words_cost(self, sentence: Sentence) -> int:
        """Tokens of a sentence's words, at most."""
        words = (part.variants for part in sentence if isinstance(part, Words))
        return sum(int(self.table.lengths_of(variants).max()) for variants in words)

    def _least(self, sentences: Sequence[Sentence]) -> int:
        """Tokens in the worst case: one item of the history, texts as short as can be, the end."""
        least, one_of = 1, 0
        for sentence in sentences:
            fields = (part for part in sentence if isinstance(part, Field))
            tokens = self._words_cost(sentence) + sum(map(self._least_of, fields))
            # The one item of the history that is left stands in one of several such sentences.
            if self._is_optional(sentence):
                one_of = max(one_of, tokens)
            else:
                least += tokens
        return least + one_of

    def _least_of(self, field: Field) -> int:
        if field.name in self._texts:
            return 1
        other, last = (self.table.least(block) for block in self._blocks(field))
        least = int(last.max(initial=0))
        more = 0 if self._types[field.name].dropped else self._widths[field.name] - 1
        return least + (int(np.sort(other)[-more:].sum()) if more else 0)

    # Batches --------------------------------------------------------------------------------------

    def keep(self, base: str, fields: Fields, budget: int | None) -> tf.Tensor:
        """bool [B, w]: which numbers of a field stay when the first leave until the rest fits.

        With "history", the fields that are aligned with it leave too. Those that are drawn later
        among what stays, such as the masked history, count an item as the longer of itself and the
        mask.
        """
        is_kept = self._types[base].in_window
        names = [n for n in self._names if n == base or (is_kept and self._types[n].in_window)]
        later = [name for name in names if name not in fields]
        _, length_BxL, _, _ = self._columns({**fields, **dict.fromkeys(later, fields[base])})
        others = self._matrix(lambda c: bool(c.field) and c.field not in names)
        cost_of_words_Bx1 = self._of_template(self._cost_of_words[:, tf.newaxis], fields)
        others_BxL = length_BxL * self._of_template(others, fields)
        fixed_B = tf.reduce_sum(others_BxL, axis=1) + tf.squeeze(cost_of_words_Bx1, axis=1)
        cost_BxW = tf.zeros_like(fields[base])
        for name in names:
            own_BxW = self._lengths_of(name, length_BxL, fields)
            if name in later:
                present_BxW = tf.cast(fields[base] >= 0, tf.int32)
                own_BxW = tf.maximum(own_BxW, self._masks[name] * present_BxW)
            cost_BxW += own_BxW
        return (fields[base] >= 0) & keep_recent(cost_BxW, fixed_B, budget)

    def _lengths_of(self, name: str, length_BxL: tf.Tensor, fields: Fields) -> tf.Tensor:
        """int32 [B, w]: tokens of the field's columns; 0 where the row's template lacks it."""
        columns = [[n for n, c in enumerate(row) if c.field == name] for row in self._rows]
        if len(columns) == 1:
            return tf.gather(length_BxL, columns[0], axis=1)
        absent = [len(self._rows[0])] * self._widths[name]
        column_TxW = tf.constant([of_template or absent for of_template in columns])
        padded_BxL = tf.pad(length_BxL, [[0, 0], [0, 1]])
        return tf.gather(padded_BxL, self._of_template(column_TxW, fields), batch_dims=1)

    def tokens(self, fields: Fields, budget: int | None) -> tf.RaggedTensor:
        """int32 [B, (tokens)]: each row in its template's words, cut to fit the budget."""
        phrase_BxL, length_BxL, start_BxL, tokens = self._columns(fields)
        length_BxL *= self._of_template(self._ends, fields)
        if budget is not None:
            for turn in sorted({column.turn for row in self._rows for column in row} - {0}):
                length_BxL = self._shortened(length_BxL, budget, turn, phrase_BxL, fields)
        if self._texts:
            return join(tokens, start_BxL, length_BxL)
        return self.table.join(phrase_BxL, length_BxL)

    def _columns(self, fields: Fields) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """int32 [B, L] phrases, their lengths and starts, and the tokens that these are in."""
        number_BxV = self._numbers(fields)
        if len(self._rows) == 1:
            number_BxL = tf.gather(number_BxV, self._value[0], axis=1)
        else:
            value_BxL = self._of_template(self._value, fields)
            number_BxL = tf.gather(number_BxV, value_BxL, batch_dims=1)
        phrase_BxL = self._of_template(self._first, fields) + number_BxL
        phrase_BxL = tf.where(number_BxL >= 0, phrase_BxL, EMPTY)
        length_BxL = tf.gather(self.table.lengths, phrase_BxL)
        start_BxL = tf.gather(self.table.starts, phrase_BxL)
        if not self._texts:
            return phrase_BxL, length_BxL, start_BxL, self.table.tokens
        text_XB = tf.concat([plain_texts(fields[name]) for name in self._texts], axis=0)
        ragged = self._vocabulary.tf_tokenizer.tokenize(text_XB)
        text_BxL = self._of_template(self._text, fields)
        text_BxL = tf.broadcast_to(text_BxL, tf.shape(phrase_BxL))

        def of_texts(value_XB: tf.Tensor) -> tf.Tensor:
            value_BxX = tf.transpose(tf.reshape(value_XB, [len(self._texts), -1]))
            return tf.cast(tf.gather(value_BxX, tf.maximum(text_BxL, 0), batch_dims=1), tf.int32)

        start_of_texts = of_texts(ragged.row_starts()) + tf.size(self.table.tokens)
        start_BxL = tf.where(text_BxL >= 0, start_of_texts, start_BxL)
        length_BxL = tf.where(text_BxL >= 0, of_texts(ragged.row_lengths()), length_BxL)
        tokens = tf.concat([self.table.tokens, tf.cast(ragged.flat_values, tf.int32)], axis=0)
        return phrase_BxL, length_BxL, start_BxL, tokens

    def _numbers(self, fields: Fields) -> tf.Tensor:
        """int32 [B, V]: a zero, the numbers of the fields, then which variant words have."""
        zero_Bx1 = tf.zeros([tf.shape(fields["position"])[0], 1], tf.int32)
        numbers = [zero_Bx1]
        for name in self._names:
            number = tf.cast(fields[name], tf.int32)
            number_BxN = number if number.shape.rank == 2 else number[:, tf.newaxis]
            numbers.append(tf.ensure_shape(number_BxN, [None, self._widths[name]]))
        for sentences, number, later in self._variants:
            is_first_Bx1 = tf.equal(zero_Bx1, 0)
            for sentence in sentences[:number]:
                is_first_Bx1 &= tf.logical_not(self._is_shown(sentence, fields))
            variant_Bx1 = tf.where(is_first_Bx1, zero_Bx1, later)
            shown = self._is_shown(sentences[number], fields)
            numbers.append(tf.where(shown, variant_Bx1, -1))
        return tf.concat(numbers, axis=1)

    def _is_shown(self, sentence: Sentence, fields: Fields) -> tf.Tensor:
        """bool [B, 1], or of one value: whether the sentence has anything to show."""
        if not self._is_optional(sentence):
            return tf.constant([[True]])
        names = [part.name for part in sentence if isinstance(part, Field)]
        number_BxN = tf.concat([fields[name] for name in names], axis=1)
        return tf.reduce_any(number_BxN >= 0, axis=1, keepdims=True)

    def _shortened(
        self, length_BxL: tf.Tensor, budget: int, turn: int, phrase_BxL: tf.Tensor, fields: Fields
    ) -> tf.Tensor:
        """int32 [B, L]: the lengths when what is cut in this turn has been cut."""
        length = len(self._rows[0])
        columns = [n for n in range(length) if any(row[n].turn == turn for row in self._rows)]
        ends = [
            n + 1 if n + 1 < length and any(row[n + 1].is_end for row in self._rows) else None
            for n in columns
        ]
        is_cut = self._matrix(lambda column: column.turn == turn)
        is_cut_BxK = tf.gather(self._of_template(is_cut, fields), columns, axis=1) > 0
        is_text = self._matrix(lambda column: column.text >= 0)
        is_text_BxK = tf.gather(self._of_template(is_text, fields), columns, axis=1) > 0
        phrase_BxK = tf.gather(phrase_BxL, columns, axis=1)
        whole_BxK = tf.gather(length_BxL, columns, axis=1)
        bare_BxK = tf.gather(self.table.bare, phrase_BxK)
        bare_BxK = tf.where(is_text_BxK, tf.minimum(whole_BxK, 1), bare_BxK)

        def cut_to(limit_BxK: tf.Tensor) -> tf.Tensor:
            return tf.where(is_text_BxK, limit_BxK, self.table.cut_to(phrase_BxK, limit_BxK))

        return shorten(
            length_BxL,
            columns,
            ends,
            tf.where(is_cut_BxK, bare_BxK, whole_BxK),
            self.table.shortened_end,
            cut_to,
            budget,
        )
