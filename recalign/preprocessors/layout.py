"""A prompt's sections as columns of phrase numbers, and from there to tokens that fit."""

import dataclasses
from collections.abc import Mapping, Sequence

import tensorflow as tf

from recalign import prompts
from recalign.data.prepared import PreparedDataset
from recalign.preprocessors.fitting import shorten_titles
from recalign.preprocessors.phrases import EMPTY, Block, PhraseTable
from recalign.prompts import Prompt, Section, Slot

_BLOCKS: Mapping[Slot, tuple[Block, ...]] = {
    Slot.HISTORY: ("item;",),
    Slot.HISTORY_IDS: ("id",),
    Slot.LIKED: ("item;",),
    Slot.DISLIKED: ("item;",),
    Slot.CANDIDATES: ("id,", "id."),
    Slot.CHOICES: ("item;",),
    Slot.ASKED: ("item",),
    Slot.TARGET_ID: ("id",),
    Slot.TARGET_ITEM: ("item;",),
    Slot.MASKED: ("item;",),
    Slot.ASKED_ID: ("id?",),
    Slot.VALUE: tuple(("value", field) for field in prompts.FIELD_QUESTIONS),
}


@dataclasses.dataclass(frozen=True)
class Shown:
    """What a slot shows.

    Attributes:
        phrase_BxN: int32 [B, n] phrase numbers, `EMPTY` where there is nothing.
        titles: how many of the last columns are items whose titles may be cut to fit.
        ended: whether a cut title is followed by a semicolon of its own.
    """

    phrase_BxN: tf.Tensor
    titles: int = 0
    ended: bool = True


class Layout:
    """The phrases of a prompt and their order."""

    def __init__(self, prompt: Prompt, dataset: PreparedDataset, vocabulary: object, products: str):
        self.prompt = prompt
        self._products = products
        words = [
            prompts.section_words(section, products=products, first=first)
            for section in prompt.inputs + prompt.targets
            for first in (True, False)
        ]
        words += [prompts.MASKED_ITEM, *prompts.ANSWERS]
        words += list(prompts.FIELD_QUESTIONS.values())
        self.history_block: Block = "id" if Slot.HISTORY_IDS in prompt.slots else "item;"
        """How the prompt writes an item of the history."""
        blocks = [block for slot in Slot for block in _BLOCKS.get(slot, ()) if slot in prompt.slots]
        self.table = PhraseTable(dataset, vocabulary, words, blocks)

    def tokens(
        self,
        sections: Sequence[Section],
        shown: Mapping[Slot, Shown],
        budget: int | None,
        *,
        end: bool = True,
    ) -> tf.RaggedTensor:
        """int32 [B, (tokens)]: the sections as token ids, EOS included where `end`."""
        columns, spots = self._columns(sections, shown)
        if end:
            columns.append(tf.fill([tf.shape(columns[0])[0], 1], self.table.eos))
        phrase_BxP = tf.concat(columns, axis=1) if len(columns) > 1 else columns[0]
        length_BxP = shorten_titles(self.table, phrase_BxP, spots, budget)
        return self.table.join(phrase_BxP, length_BxP)

    def _columns(
        self, sections: Sequence[Section], shown: Mapping[Slot, Shown]
    ) -> tuple[list[tf.Tensor], list[tuple[int, int | None]]]:
        batch = next(tf.shape(s.phrase_BxN)[0] for s in shown.values())
        columns: list[tf.Tensor] = []
        spots: list[tuple[int, int | None]] = []
        width = 0

        def add(column_BxN: tf.Tensor) -> int:
            nonlocal width
            columns.append(column_BxN)
            width += column_BxN.shape[1]
            return width - 1

        is_first_B = tf.fill([batch], True)
        for section in sections:
            slot = None if section.slot is None else shown[section.slot]
            is_shown_B = (
                tf.fill([batch], True)
                if slot is None
                else tf.reduce_any(tf.not_equal(slot.phrase_BxN, EMPTY), axis=1)
            )
            if section.words:
                add(tf.where(is_shown_B, self._words(section, is_first_B), EMPTY)[:, tf.newaxis])
            is_first_B = is_first_B & tf.logical_not(is_shown_B)
            if slot is None:
                continue
            whole = slot.phrase_BxN.shape[1] - slot.titles
            if whole:
                add(slot.phrase_BxN[:, :whole])
            for number in range(whole, whole + slot.titles):
                column = add(slot.phrase_BxN[:, number : number + 1])
                end = add(tf.fill([batch, 1], self.table.shortened_end)) if slot.ended else None
                spots.append((column, end))
        return columns, spots

    def _words(self, section: Section, is_first_B: tf.Tensor) -> tf.Tensor:
        first, later = (
            self.table.word(prompts.section_words(section, products=self._products, first=first))
            for first in (True, False)
        )
        return tf.where(is_first_B, first, later)

    def fixed_tokens(self, sections: Sequence[Section]) -> int:
        """The tokens of the sections' words and EOS, at most."""
        table = self.table
        return 1 + sum(
            max(
                int(table.lengths[table.word(words)])
                for words in (
                    prompts.section_words(section, products=self._products, first=first)
                    for first in (True, False)
                )
            )
            for section in sections
        )

    def least_tokens(self, sections: Sequence[Section], pool: int) -> int:
        """What the sections need in the worst case: one item of history, titles cut away."""
        groups: dict[Slot | None, int] = {}
        for section in sections:
            words = self.fixed_tokens([section]) - 1
            if section.slot in (Slot.LIKED, Slot.DISLIKED):
                # The one item that is left stands in one of the two lists.
                least = words + self._least(Slot.HISTORY, pool)
                groups[Slot.LIKED] = max(groups.get(Slot.LIKED, 0), least)
            else:
                least = words if section.slot is None else words + self._least(section.slot, pool)
                groups[section.slot] = groups.get(section.slot, 0) + least
        return 1 + sum(groups.values())

    def _least(self, slot: Slot, pool: int) -> int:
        table = self.table
        end = int(table.lengths[table.shortened_end])
        mask = int(table.lengths[table.word(prompts.MASKED_ITEM)])
        if slot == Slot.HISTORY:
            shows_masks = Slot.MASKED in self.prompt.slots
            return max(table.longest("item;", bare=True) + end, mask if shows_masks else 0)
        if slot in (Slot.TARGET_ITEM, Slot.MASKED):
            return table.longest("item;", bare=True) + end
        if slot == Slot.CHOICES:
            return table.longest("item;", bare=True, count=2) + 2 * end
        if slot == Slot.CANDIDATES:
            separators = table.longest("id.") - table.longest("id,")
            return table.longest("id,", count=pool) + max(0, separators)
        if slot == Slot.ANSWER:
            return max(int(table.lengths[table.word(answer)]) for answer in prompts.ANSWERS)
        if slot == Slot.FIELD:
            questions = prompts.FIELD_QUESTIONS.values()
            return max(int(table.lengths[table.word(question)]) for question in questions)
        if slot == Slot.VALUE:
            return 1
        (block,) = _BLOCKS[slot]
        return table.longest(block, bare=True)
