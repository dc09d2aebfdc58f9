"""The one engine that turns prompts into tokens: a row of phrases for each example, joined.

An example is a row of columns. Its template says of each column where its kind of phrase begins in
the table, and which of the example's numbers to add. A text that the batch holds as a string is a
phrase that is added to the table for the batch. Of several templates an example's `drawn_template`
chooses.
"""

import dataclasses
import functools
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
    least: int = 0  # tokens in the worst case: with one item of the history, texts cut to the bare
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
        # Of the fields that any template shows, how many numbers they have.
        self.widths = {field.name: types[field.name].width(settings) for field in fields}
        self._texts = [name for name in self.widths if not types[name].forms]
        blocks = [block for field in fields for block in self._blocks(field)]
        words = [part.variants for part in parts if isinstance(part, Words)]
        self.table = PhraseTable(dataset, vocabulary, words, blocks)
        self._masks = {
            field.name: int(self.table.lengths_of(self._blocks(field)[1])[-1])
            for field in fields
            if types[field.name].in_window
        }
        *places, size = itertools.accumulate(self.widths.values(), initial=1)
        self._places = dict(zip(self.widths, places, strict=True))
        self._sides = sides
        starts = itertools.accumulate(map(len, sides), initial=size)
        rows, least = zip(*map(self._row, sides, starts), strict=True)
        longest = max(map(len, rows))
        self._rows = [[*row, *[_Column()] * (longest - len(row))] for row in rows]
        self.least = max(least)

    # Columns --------------------------------------------------------------------------------------

    def _blocks(self, field: Field) -> tuple[Block, ...]:
        """The phrases of a field's numbers before the last one, and of the last."""
        form = form_of(field, self._types)
        if form is None:
            return ()
        last = Block(form, field.prefix, f"{form.end}{field.suffix}")
        return Block(form, field.prefix, f"{form.end}{form.separator}"), last

    def _row(self, sentences: Sequence[Sentence], start: int) -> tuple[list[_Column], int]:
        """The columns of a template, and the tokens that it needs in the worst case.

        The sentences' numbers begin at `start`.
        """
        row = [_Column()]  # what a template lacks is there
        least, one_of = 1, 0
        for place, sentence in enumerate(sentences, start):
            columns = [column for part in sentence for column in self._columns(part, place)]
            row += columns
            tokens = sum(column.least for column in columns)
            # The one item of the history that is left stands in one of several such sentences.
            if self._is_optional(sentence):
                one_of = max(one_of, tokens)
            else:
                least += tokens
        return [*row, _Column(END_OF_SEQUENCE, least=1)], least + one_of

    def _columns(self, part: Part, place: int) -> list[_Column]:
        """The columns of a part of the sentence whose number is at this place."""
        if isinstance(part, Words):
            most = int(self.table.lengths_of(part.variants).max())
            return [_Column(self.table.first(part.variants), place, most)]
        name, made = part.name, self._types[part.name]
        place, width = self._places[name], self.widths[name]
        if name in self._texts:
            return [_Column(self.table.size, place, 1, field=name, turn=made.cut)]
        other, last = self._blocks(part)
        end = self.table.shortened_end if last.form.end else 0
        # At worst a list that may lose its first items keeps one, others have the longest of all.
        longest = [] if made.dropped else np.sort(self.table.least(other))[::-1].tolist()
        least = [*longest, *[0] * width][: width - 1]
        least.append(int(self.table.least(last).max(initial=0)))
        columns: list[_Column] = []
        for number in range(width):
            is_last = number == width - 1
            first = self.table.first(last if is_last else other)
            # Of a list that may lose its first items, only the last one is cut.
            turn = last.form.cut if is_last or not made.dropped else 0
            columns.append(_Column(first, place + number, least[number], name, turn, end))
            if turn and end:
                columns.append(_Column(SHORTENED_END, is_end=True))
        return columns

    def _is_optional(self, sentence: Sentence) -> bool:
        fields = [part for part in sentence if isinstance(part, Field)]
        return bool(fields) and all(self._types[field.name].optional for field in fields)

    # Batches --------------------------------------------------------------------------------------

    def keep(self, base: str, fields: Fields, budget: int | None) -> tf.Tensor:
        """bool [B, w]: which numbers of a field stay when the first leave until the rest fits.

        With "history", the fields that are aligned with it leave too. Those that are drawn later
        among what stays, such as the masked history, count an item as the longer of itself and the
        mask.
        """
        is_kept = self._types[base].in_window
        names = [n for n in self.widths if n == base or (is_kept and self._types[n].in_window)]
        later = [name for name in names if name not in fields]
        _, _, length_BxL = self._shown({**fields, **dict.fromkeys(later, fields[base])})
        others = self._of_template(lambda c: bool(c.field) and c.field not in names, fields)
        words = self._of_template(lambda c: 0 if c.field else c.least, fields)
        fixed_B = tf.reduce_sum(length_BxL * others + words, axis=1)
        cost_BxW = tf.zeros_like(fields[base])
        for name in names:
            columns = [[n for n, c in enumerate(row) if c.field == name] for row in self._rows]
            absent = [0] * self.widths[name]
            own_BxW = self._taken(length_BxL, [row or absent for row in columns], fields)
            if name in later:
                present_BxW = tf.cast(fields[base] >= 0, tf.int32)
                own_BxW = tf.maximum(own_BxW, self._masks[name] * present_BxW)
            cost_BxW += own_BxW
        return (fields[base] >= 0) & keep_recent(cost_BxW, fixed_B, budget)

    def tokens(self, fields: Fields, budget: int | None) -> tf.RaggedTensor:
        """int32 [B, (tokens)]: each row in its template's words, cut to fit the budget."""
        phrases, phrase_BxL, length_BxL = self._shown(fields)
        length_BxL *= self._of_template(lambda c: not c.is_end, fields)
        if budget is not None:
            turn_BxL = self._of_template(lambda c: c.turn, fields)
            end_BxL = self._of_template(lambda c: c.end, fields)
            cut_to = functools.partial(phrases.cut_to, phrase_BxL)
            bare_BxL = tf.gather(phrases.bare, phrase_BxL)
            for turn in sorted({c.turn for row in self._rows for c in row} - {0}):
                least_BxL = tf.where(tf.equal(turn_BxL, turn), bare_BxL, length_BxL)
                length_BxL = shorten(length_BxL, least_BxL, end_BxL, cut_to, budget)
        return phrases.join(phrase_BxL, length_BxL)

    def _shown(self, fields: Fields) -> tuple[Phrases, tf.Tensor, tf.Tensor]:
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
        for name, width in self.widths.items():
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
        """int32 [B, L], of the columns of the rows' templates; [1, L] where these do not differ."""
        value_TxL = [[int(value(column)) for column in row] for row in self._rows]
        if all(value_L == value_TxL[0] for value_L in value_TxL):
            return tf.constant(value_TxL[:1], tf.int32)
        return tf.gather(tf.constant(value_TxL, tf.int32), fields["drawn_template"])

    def _taken(
        self, value_BxN: tf.Tensor, place_TxK: Sequence[Sequence[int]], fields: Fields
    ) -> tf.Tensor:
        """int32 [B, K]: the values at these places, which differ by template."""
        if len(place_TxK) == 1:
            return tf.gather(value_BxN, place_TxK[0], axis=1)
        place_BxK = tf.gather(tf.constant(place_TxK), fields["drawn_template"])
        return tf.gather(value_BxN, place_BxK, batch_dims=1)
