"""The samples of each task: a batch of windows becomes token ids and what the metrics need."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import seqio
import tensorflow as tf

from recalign import prompts
from recalign.data.prepared import PreparedDataset
from recalign.errors import UserError
from recalign.preprocessors import masks
from recalign.preprocessors.draws import Draws
from recalign.preprocessors.fitting import keep_recent
from recalign.preprocessors.layout import Layout, Shown
from recalign.preprocessors.negatives import NegativeSampler
from recalign.preprocessors.phrases import EMPTY, item_values
from recalign.preprocessors.settings import TaskSettings
from recalign.preprocessors.windows import ABSENT, WindowLookup, Windows
from recalign.prompts import Prompt, Slot

Features = dict[str, tf.Tensor | tf.RaggedTensor]
"""A batch of examples: rows of ragged tensors become vectors of their own length."""

SPLIT_NUMBERS = {"train": 0, "validation": 1, "test": 2}


@dataclasses.dataclass(frozen=True)
class Request:
    """What the samples of one task and split are made from.

    Attributes:
        task: its name, for messages.
        dataset: the prepared dataset.
        split: "train", "validation" or "test".
        prompt: the wording.
        products: the noun for what users buy.
        vocabulary: of inputs and targets.
        settings: windows, pools, masks.
        inputs: longest `inputs` in tokens, EOS included; None for any.
        targets: longest `targets` in tokens; None for any.
    """

    task: str
    dataset: PreparedDataset
    split: str
    prompt: Prompt
    products: str
    vocabulary: seqio.SentencePieceVocabulary
    settings: TaskSettings
    inputs: int | None
    targets: int | None


class Samples:
    """All samples of a task and split, by number; subclasses say what is drawn and shown."""

    kind = ""
    targets_may_be_cut = False

    def __init__(self, request: Request):
        self.request = request
        self.layout = Layout(request.prompt, request.dataset, request.vocabulary, request.products)
        self.table = self.layout.table
        self.windows = WindowLookup(
            self.kind, request.dataset, request.split, request.settings.history_length
        )
        self._check_lengths()

    def __len__(self) -> int:
        """The number of samples of an epoch."""
        return len(self.windows)

    def __call__(self, sample_B: tf.Tensor, draws: Draws) -> Features:
        """The examples of the samples with these numbers, int64 [B]."""
        windows = self.windows(sample_B, draws)
        shown = self.show(windows, draws)
        cost_BxW, fixed = self.history_cost(shown, windows)
        keep_BxW = windows.present_BxW & keep_recent(cost_BxW, fixed, self.request.inputs)
        return self.common(windows, keep_BxW) | self.examples(windows, shown, keep_BxW, draws)

    def show(self, windows: Windows, draws: Draws) -> dict[Slot, Shown]:
        """What the slots other than the history's show."""
        raise NotImplementedError

    def examples(
        self, windows: Windows, shown: dict[Slot, Shown], keep_BxW: tf.Tensor, draws: Draws
    ) -> Features:
        """`inputs`, `targets` and the task's own features."""
        target = shown
        return {
            "inputs": self.layout.tokens(
                self.request.prompt.inputs,
                shown | self.history(windows, keep_BxW),
                self.request.inputs,
            ),
            "targets": self.layout.tokens(
                self.request.prompt.targets, target, self.request.targets
            ),
        } | self.extra(windows, shown)

    def extra(self, windows: Windows, shown: dict[Slot, Shown]) -> Features:
        """The task's own features."""
        return {"target": windows.target_B}

    def history(self, windows: Windows, keep_BxW: tf.Tensor) -> dict[Slot, Shown]:
        """The kept items of the history, in its slots."""
        return {Slot.HISTORY: self.items(windows.history_BxW, keep_BxW, titles=1)}

    def history_cost(
        self, shown: Mapping[Slot, Shown], windows: Windows
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """int32 [B, w] tokens of each item of the history, and int32 [B] of everything else."""
        fixed_B = self.layout.fixed_tokens(self.request.prompt.inputs) + sum(
            tf.reduce_sum(self.table.tokens_in(shown[section.slot].phrase_BxN), axis=1)
            for section in self.request.prompt.inputs
            if section.slot in shown
        )
        if not isinstance(fixed_B, tf.Tensor):
            fixed_B = tf.fill(tf.shape(windows.record_B), fixed_B)
        return self.table.tokens_in(self.table.of_items("item;", windows.history_BxW)), fixed_B

    def items(self, item_BxN: tf.Tensor, keep_BxN: tf.Tensor, titles: int) -> Shown:
        """Items with titles, each ending with a semicolon."""
        phrase_BxN = tf.where(keep_BxN, self.table.of_items("item;", item_BxN), EMPTY)
        return Shown(phrase_BxN, titles)

    def common(self, windows: Windows, keep_BxW: tf.Tensor) -> Features:
        """The features that every example has beside its tokens."""
        return {
            "row": windows.row_B,
            "split": tf.fill(
                tf.shape(windows.row_B),
                tf.constant(SPLIT_NUMBERS[self.request.split], tf.int64),
            ),
            "history": tf.ragged.boolean_mask(windows.history_BxW, keep_BxW),
        }

    def _check_lengths(self) -> None:
        pool = self.request.settings.candidate_pool
        for feature, sections, given in (
            ("inputs", self.request.prompt.inputs, self.request.inputs),
            ("targets", self.request.prompt.targets, self.request.targets),
        ):
            need = self.layout.least_tokens(sections, pool)
            if given is not None and given < need:
                pool_note = (
                    f" for the pool of {pool} candidates, its question and one item of history"
                    if any(section.slot == Slot.CANDIDATES for section in sections)
                    else " for the shortest form of every prompt"
                )
                raise UserError(
                    f"{self.request.task}: {given} tokens of {feature} are too few: {need} are "
                    f"needed{pool_note}: set TASK_FEATURE_LENGTHS['{feature}'] to at least {need}"
                )


class Retrieval(Samples):
    """The next item of a window, out of the whole catalogue."""

    kind = "retrieval"

    def show(self, windows: Windows, draws: Draws) -> dict[Slot, Shown]:
        return {Slot.TARGET_ID: Shown(self.table.of_items("id", windows.target_B)[:, tf.newaxis])}


class Ranking(Samples):
    """The next item of a window, out of a pool with negatives by popularity."""

    kind = "ranking"

    def __init__(self, request: Request):
        self._pool = request.settings.candidate_pool
        self._negatives = NegativeSampler(request.dataset, request.split, self._pool - 1)
        super().__init__(request)

    def show(self, windows: Windows, draws: Draws) -> dict[Slot, Shown]:
        negatives_BxN = self._negatives(windows.record_B, draws)
        pool_BxC = tf.concat([windows.target_B[:, tf.newaxis], negatives_BxN], axis=1)
        # The order of drawing tells popularity, so the whole pool is shuffled.
        order_BxC = tf.argsort(draws.order("pool", self._pool), axis=1)
        pool_BxC = tf.gather(pool_BxC, order_BxC, axis=1, batch_dims=1)
        last_C = tf.equal(tf.range(self._pool), self._pool - 1)
        first_C = tf.where(last_C, self.table.first("id."), self.table.first("id,"))
        return {
            Slot.CANDIDATES: Shown(tf.ensure_shape(pool_BxC + first_C, [None, self._pool])),
            Slot.TARGET_ID: Shown(self.table.of_items("id", windows.target_B)[:, tf.newaxis]),
        }

    def extra(self, windows: Windows, shown: dict[Slot, Shown]) -> Features:
        phrase_BxC = shown[Slot.CANDIDATES].phrase_BxN
        last_C = tf.equal(tf.range(self._pool), self._pool - 1)
        first_C = tf.where(last_C, self.table.first("id."), self.table.first("id,"))
        return {"target": windows.target_B, "candidates": phrase_BxC - first_C}


class Rating(Samples):
    """Whether the user likes the next item, given likes and dislikes."""

    kind = "rating"

    def __init__(self, request: Request):
        if not request.dataset.has_ratings:
            raise UserError(
                f"{request.task}: the log of dataset {request.dataset.name!r} has no ratings, so "
                "there are no likes to predict: prepare it from a log with a rating column, or "
                "use another task"
            )
        super().__init__(request)

    def show(self, windows: Windows, draws: Draws) -> dict[Slot, Shown]:
        asked_Bx1 = self.table.of_items("item", windows.target_B)[:, tf.newaxis]
        no, yes = (self.table.word(answer) for answer in prompts.ANSWERS)
        return {
            Slot.ASKED: Shown(asked_Bx1, titles=1, ended=False),
            Slot.ANSWER: Shown(tf.where(self._liked(windows), yes, no)[:, tf.newaxis]),
        }

    def history(self, windows: Windows, keep_BxW: tf.Tensor) -> dict[Slot, Shown]:
        likes_BxW = windows.history_rating_BxW > self.request.settings.like_threshold
        return {
            Slot.LIKED: self.items(windows.history_BxW, keep_BxW & likes_BxW, titles=1),
            Slot.DISLIKED: self.items(
                windows.history_BxW, keep_BxW & tf.logical_not(likes_BxW), titles=1
            ),
        }

    def extra(self, windows: Windows, shown: dict[Slot, Shown]) -> Features:
        return {"target": windows.target_B, "label": tf.cast(self._liked(windows), tf.int32)}

    def _liked(self, windows: Windows) -> tf.Tensor:
        return windows.target_rating_B > self.request.settings.like_threshold


class BayesianPersonalizedRanking(Samples):
    """The next item of a window against one negative."""

    kind = "bpr"

    def __init__(self, request: Request):
        self._negatives = NegativeSampler(request.dataset, request.split, 1)
        super().__init__(request)

    def show(self, windows: Windows, draws: Draws) -> dict[Slot, Shown]:
        negative_Bx1 = self._negatives(windows.record_B, draws)
        target_Bx1 = windows.target_B[:, tf.newaxis]
        target_first_Bx1 = draws.uniform("order of the two", 1) < 0.5
        pair_Bx2 = tf.where(
            target_first_Bx1,
            tf.concat([target_Bx1, negative_Bx1], axis=1),
            tf.concat([negative_Bx1, target_Bx1], axis=1),
        )
        everything = tf.ones_like(pair_Bx2, tf.bool)
        return {
            Slot.CHOICES: self.items(pair_Bx2, everything, titles=2),
            Slot.TARGET_ITEM: self.items(target_Bx1, everything[:, :1], titles=1),
        }


class MaskedItems(Samples):
    """Masked items of a window (MIM)."""

    kind = "mim"

    def show(self, windows: Windows, draws: Draws) -> dict[Slot, Shown]:
        return {}

    def history_cost(
        self, shown: Mapping[Slot, Shown], windows: Windows
    ) -> tuple[tf.Tensor, tf.Tensor]:
        cost_BxW, fixed_B = super().history_cost(shown, windows)
        # Which items are masked is drawn among those that stay, so each counts as its longer form.
        mask = int(self.table.lengths[self.table.word(prompts.MASKED_ITEM)])
        cost_BxW = tf.maximum(cost_BxW, mask * tf.cast(windows.present_BxW, tf.int32))
        return cost_BxW, fixed_B

    def examples(
        self, windows: Windows, shown: dict[Slot, Shown], keep_BxW: tf.Tensor, draws: Draws
    ) -> Features:
        ratio = self.request.settings.masking_ratio
        masked_BxW = masks.choose_masked(keep_BxW, ratio, draws)
        phrase_BxW = tf.where(keep_BxW, self.table.of_items("item;", windows.history_BxW), EMPTY)
        # The masked items in the last columns of a narrower matrix, oldest first.
        width = phrase_BxW.shape[1]
        most = max(1, int(width * ratio + 0.5))
        column_BxM = tf.sort(
            tf.math.top_k(tf.where(masked_BxW, tf.range(width), ABSENT), most).values, axis=1
        )
        answer_BxM = tf.where(
            column_BxM >= 0,
            tf.gather(phrase_BxW, tf.maximum(column_BxM, 0), axis=1, batch_dims=1),
            EMPTY,
        )
        # Masked items that the targets have no room for are shown instead, the oldest first.
        fixed = self.layout.fixed_tokens(self.request.prompt.targets)
        room_BxM = keep_recent(
            self.table.tokens_in(answer_BxM), tf.constant(fixed), self.request.targets
        ) & (column_BxM >= 0)
        answer_BxM = tf.where(room_BxM, answer_BxM, EMPTY)
        first_B = tf.reduce_min(tf.where(room_BxM, column_BxM, width), axis=1)
        masked_BxW = masked_BxW & (tf.range(width) >= first_B[:, tf.newaxis])
        mask = self.table.word(prompts.MASKED_ITEM)
        return {
            "inputs": self.layout.tokens(
                self.request.prompt.inputs,
                {Slot.HISTORY: Shown(tf.where(masked_BxW, mask, phrase_BxW), titles=1)},
                self.request.inputs,
            ),
            "targets": self.layout.tokens(
                self.request.prompt.targets,
                {Slot.MASKED: Shown(answer_BxM, titles=1)},
                self.request.targets,
            ),
        }


class MaskedLanguage(Samples):
    """Corrupted spans of a sub-sequence's tokens (MLM)."""

    kind = "mlm"

    def __init__(self, request: Request):
        settings = request.settings
        self._first_sentinel, sentinels = masks.sentinels(request.vocabulary)
        if not sentinels:
            raise UserError(f"{request.task}: the vocabulary has no sentinels (extra_ids)")
        self._spans = {
            "ratio": settings.masking_ratio,
            "mean_span_length": settings.mean_span_length,
            "most_spans": sentinels,
        }
        self._longest = masks.longest_that_fits(request.inputs, request.targets, **self._spans)
        super().__init__(request)

    def show(self, windows: Windows, draws: Draws) -> dict[Slot, Shown]:
        return {}

    def __call__(self, sample_B: tf.Tensor, draws: Draws) -> Features:
        windows = self.windows(sample_B, draws)
        cost_BxW, fixed_B = self.history_cost({}, windows)
        budget = None if self._longest is None else self._longest + 1
        keep_BxW = windows.present_BxW & keep_recent(cost_BxW, fixed_B, budget)
        text = self.layout.tokens(
            self.request.prompt.inputs, self.history(windows, keep_BxW), budget
        )
        inputs, targets = masks.corrupt_spans(
            text, draws, first_sentinel=self._first_sentinel, **self._spans
        )
        return self.common(windows, keep_BxW) | {"inputs": inputs, "targets": targets}

    def _check_lengths(self) -> None:
        need = self.layout.least_tokens(self.request.prompt.inputs, 0)
        if self._longest is None or self._longest + 1 >= need:
            return
        noise, spans = masks.span_counts(need - 1, **self._spans)
        raise UserError(
            f"{self.request.task}: {self.request.inputs} tokens of inputs and "
            f"{self.request.targets} of targets are too few: {need - noise + spans} and "
            f"{noise + spans + 1} are needed for one item: set TASK_FEATURE_LENGTHS"
        )


class ItemContent(Samples):
    """Questions about an item's content (IE, Figure 3): one for each field that is known."""

    kind = "ie"

    def __init__(self, request: Request):
        self.request = request
        self.layout = Layout(request.prompt, request.dataset, request.vocabulary, request.products)
        self.table = self.layout.table
        self._check_lengths()
        known = [
            (number, item)
            for number, field in enumerate(prompts.FIELD_QUESTIONS)
            for item, value in enumerate(item_values(request.dataset, field))
            if value
        ]
        pairs = np.array(sorted(known, key=lambda pair: pair[::-1]), np.int32).reshape(-1, 2)
        self._size = len(pairs)
        questions = [self.table.word(text) for text in prompts.FIELD_QUESTIONS.values()]
        values = [self.table.first(("value", field)) for field in prompts.FIELD_QUESTIONS]
        with tf.init_scope():
            self._field, self._item = tf.constant(pairs[:, 0]), tf.constant(pairs[:, 1])
            self._questions, self._values = tf.constant(questions), tf.constant(values)

    def __len__(self) -> int:
        return self._size

    def __call__(self, sample_B: tf.Tensor, draws: Draws) -> Features:
        field_B, item_B = tf.gather(self._field, sample_B), tf.gather(self._item, sample_B)
        question_B = tf.gather(self._questions, field_B)
        value_B = tf.gather(self._values, field_B) + item_B
        inputs = self.layout.tokens(
            self.request.prompt.inputs,
            {
                Slot.FIELD: Shown(question_B[:, tf.newaxis]),
                Slot.ASKED_ID: Shown(self.table.of_items("id?", item_B)[:, tf.newaxis]),
            },
            self.request.inputs,
        )
        return {
            "inputs": inputs,
            "targets": self._answer(value_B),
            "row": tf.fill(tf.shape(sample_B), tf.constant(-1, tf.int64)),
            "split": tf.zeros_like(sample_B),
            "history": tf.RaggedTensor.from_row_lengths(
                tf.zeros([0], tf.int32), tf.zeros_like(sample_B)
            ),
        }

    def _answer(self, value_B: tf.Tensor) -> tf.RaggedTensor:
        """The content, cut to the targets' length (a description may be long), and EOS."""
        length_B = self.table.tokens_in(value_B)
        if self.request.targets is not None:
            length_B = tf.minimum(length_B, self.request.targets - 1)
        phrase_Bx2 = tf.stack([value_B, tf.fill(tf.shape(value_B), self.table.eos)], axis=1)
        return self.table.join(phrase_Bx2, tf.stack([length_B, tf.ones_like(length_B)], axis=1))


KINDS: Mapping[str, Callable[[Request], Samples]] = {
    cls.kind: cls
    for cls in (
        Retrieval,
        Ranking,
        Rating,
        MaskedItems,
        MaskedLanguage,
        BayesianPersonalizedRanking,
        ItemContent,
    )
}
