"""The one engine that turns prompts into tokens: a row of phrases for each example, joined.

An example is a row of columns. Its template says of each column where its kind of phrase begins in
the table, and which of the example's numbers to add. A text that the batch holds as a string is a
phrase that is added to the table for the batch. Of several templates an example's `drawn_template`
chooses.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

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
    Phrases,
    PhraseTable,
    concatenated,
    encoded_texts,
)
from recalign.preprocessors.settings import TaskSettings
from recalign.wording import Field, Part, Sentence, Template, Words

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
    words: int = 0  # tokens of words or of the end of sequence, at most; 0 for others
    field: str = ""  # the field that it shows; "" for words and ends
    turn: int = 0  # in which turn it is cut; 0 for never
    end: int = 0  # tokens of the next column where this one is cut
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
        fields = [part for part in parts if isinstance(part, Field)]
        self._widths = {field.name: types[field.name].width(settings) for field in fields}
        self._texts = [name for name in self._widths if not types[name].forms]
        blocks = [block for field in fields for block in self._blocks(field)]
        words = [part.variants for part in parts if isinstance(part, Words)]
        self.table = PhraseTable(dataset, vocabulary, words, blocks)
        self._masks = {
            field.name: int(self.table.lengths_of(self._blocks(field)[1])[-1])
            for field in fields
            if types[field.name].in_window
        }
        *places, size = itertools.accumulate(self._widths.values(), initial=1)
        self._places = dict(zip(self._widths, places, strict=True))
        self._sides = sides
        starts = itertools.accumulate(map(len, sides), initial=size)
        # The first column is empty: what a template lacks is there.
        rows = [
            [_Column(), *self._row(side, start), _Column(END_OF_SEQUENCE, words=1)]
            for side, start in zip(sides, starts, strict=False)
        ]
        longest = max(map(len, rows))
        self._rows = [row + [_Column()] * (longest - len(row)) for row in rows]
        self.least = max(self._least(side) for side in sides)

    def shows(self, field: str) -> bool:
        """Whether any template shows the field."""
        return field in self._widths

    # Columns --------------------------------------------------------------------------------------

    def _blocks(self, field: Field) -> tuple[Block, ...]:
        """The phrases of a field's numbers before the last one, and of the last."""
        form = form_of(field, self._types)
        if form is None:
            return ()
        last = Block(form, field.prefix, f"{form.end}{field.suffix}")
        return Block(form, field.prefix, f"{form.end}{form.separator}"), last

    def _row(self, sentences: Sequence[Sentence], start: int) -> list[_Column]:
        """The columns of sentences, the numbers of which begin at this place."""
        row: list[_Column] = []
        for place, sentence in enumerate(sentences, start):
            for part in sentence:
                if isinstance(part, Field):
                    row.extend(self._columns_of(part))
                else:
                    words = self._words_cost([part])
                    row.append(_Column(self.table.first(part.variants), place, words))
        return row

    def _columns_of(self, field: Field) -> list[_Column]:
        name, made = field.name, self._types[field.name]
        place, width = self._places[name], self._widths[name]
        if name in self._texts:
            return [_Column(self.table.size, place, field=name, turn=made.cut)]
        other, last = self._blocks(field)
        end = self.table.shortened_end if last.form.end else 0
        columns: list[_Column] = []
        for number in range(width):
            is_last = number == width - 1
            # Of a list that may lose its first items, only the last one is cut.
            turn = last.form.cut if is_last or not made.dropped else 0
            first = self.table.first(last if is_last else other)
            columns.append(_Column(first, place + number, field=name, turn=turn, end=end))
            if turn and end:
                columns.append(_Column(SHORTENED_END, is_end=True))
        return columns

    def _is_optional(self, sentence: Sentence) -> bool:
        fields = [part for part in sentence if isinstance(part, Field)]
        return bool(fields) and all(self._types[field.name].optional for field in fields)

    # Least lengths --------------------------------------------------------------------------------

    def _words_cost(self, sentence: Iterable[Part]) -> int:
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
        names = [n for n in self._widths if n == base or (is_kept and self._types[n].in_window)]
        later = [name for name in names if name not in fields]
        _, _, length_BxL = self._columns({**fields, **dict.fromkeys(later, fields[base])})
        others = self._of_template(lambda c: bool(c.field) and c.field not in names, fields)
        words = self._of_template(lambda c: c.words, fields)
        fixed_B = tf.reduce_sum(length_BxL * others + words, axis=1)
        cost_BxW = tf.zeros_like(fields[base])
        for name in names:
            columns = [[n for n, c in enumerate(row) if c.field == name] for row in self._rows]
            absent = [0] * self._widths[name]
            own_BxW = self._taken(length_BxL, [row or absent for row in columns], fields)
            if name in later:
                present_BxW = tf.cast(fields[base] >= 0, tf.int32)
                own_BxW = tf.maximum(own_BxW, self._masks[name] * present_BxW)
            cost_BxW += own_BxW
        return (fields[base] >= 0) & keep_recent(cost_BxW, fixed_B, budget)

    def tokens(self, fields: Fields, budget: int | None) -> tf.RaggedTensor:
        """int32 [B, (tokens)]: each row in its template's words, cut to fit the budget."""
        phrases, phrase_BxL, length_BxL = self._columns(fields)
        length_BxL *= self._of_template(lambda c: not c.is_end, fields)
        if budget is not None:
            turn_BxL = self._of_template(lambda c: c.turn, fields)
            end_BxL = self._of_template(lambda c: c.end, fields)
            cut_to = functools.partial(phrases.cut_to, phrase_BxL)
            for turn in sorted({c.turn for row in self._rows for c in row} - {0}):
                bare_BxL = tf.gather(phrases.bare, phrase_BxL)
                least_BxL = tf.where(tf.equal(turn_BxL, turn), bare_BxL, length_BxL)
                length_BxL = shorten(length_BxL, least_BxL, end_BxL, cut_to, budget)
        return phrases.join(phrase_BxL, length_BxL)

    def _columns(self, fields: Fields) -> tuple[Phrases, tf.Tensor, tf.Tensor]:
        """The phrases, and for each column the number of one and its length, int32 [B, L]."""
        phrases = self.table.phrases
        if self._texts:
            text_XB = tf.concat([fields[name] for name in self._texts], axis=0)
            phrases = concatenated([phrases, encoded_texts(text_XB, self._vocabulary)])
        places = [[column.value for column in row] for row in self._rows]
        number_BxL = self._taken(self._numbers(fields), places, fields)
        phrase_BxL = self._of_template(lambda c: c.first, fields) + number_BxL
        phrase_BxL = tf.where(number_BxL >= 0, phrase_BxL, EMPTY)
        return phrases, phrase_BxL, tf.gather(phrases.lengths, phrase_BxL)

    def _numbers(self, fields: Fields) -> tf.Tensor:
        """int32 [B, V]: a zero, the numbers of the fields, then those of the sentences.

        A sentence has 0 where it is the first that is shown, 1 where it is a later one, else -1.
        """
        batch = tf.shape(fields["position"])[0]
        zero_Bx1 = tf.zeros([batch, 1], tf.int32)
        numbers = [zero_Bx1]
        for name, width in self._widths.items():
            if name in self._texts:
                number = self._texts.index(name) * batch + tf.range(batch)
            else:
                number = tf.cast(fields[name], tf.int32)
            number_BxN = number if number.shape.rank == 2 else number[:, tf.newaxis]
            numbers.append(tf.ensure_shape(number_BxN, [None, width]))
        for sentences in self._sides:
            later_Bx1 = zero_Bx1
            for sentence in sentences:
                if self._is_optional(sentence):
                    names = [part.name for part in sentence if isinstance(part, Field)]
                    shown_BxN = tf.concat([fields[name] for name in names], axis=1) >= 0
                    is_shown_Bx1 = tf.reduce_any(shown_BxN, axis=1, keepdims=True)
                    numbers.append(tf.where(is_shown_Bx1, later_Bx1, -1))
                    later_Bx1 = tf.where(is_shown_Bx1, 1, later_Bx1)
                else:
                    numbers.append(later_Bx1)
                    later_Bx1 = tf.ones_like(zero_Bx1)
        return tf.concat(numbers, axis=1)

    # Templates ------------------------------------------------------------------------------------

    def _of_template(self, value: Callable[[_Column], int], fields: Fields) -> tf.Tensor:
        """int32 [B, L], of the columns of the rows' templates; [1, L] where there is one."""
        matrix_TxL = tf.constant([[int(value(c)) for c in row] for row in self._rows], tf.int32)
        if len(self._rows) == 1:
            return matrix_TxL
        return tf.gather(matrix_TxL, fields["drawn_template"])

    def _taken(
        self, value_BxN: tf.Tensor, place_TxK: Sequence[Sequence[int]], fields: Fields
    ) -> tf.Tensor:
        """int32 [B, K]: the values at these places, which differ by template."""
        if len(place_TxK) == 1:
            return tf.gather(value_BxN, place_TxK[0], axis=1)
        place_BxK = tf.gather(tf.constant(place_TxK), fields["drawn_template"])
        return tf.gather(value_BxN, place_BxK, batch_dims=1)
