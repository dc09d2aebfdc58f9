"""The samples of the auxiliary tasks: BPR, MIM, MLM, IE. They are for training only."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from recalign import prompts
from recalign.errors import UserError
from recalign.preprocessors import masks
from recalign.preprocessors.draws import Draws
from recalign.preprocessors.fitting import keep_recent
from recalign.preprocessors.layout import Layout, Shown
from recalign.preprocessors.negatives import NegativeSampler
from recalign.preprocessors.phrases import EMPTY, item_values
from recalign.preprocessors.samples import Features, Request, Samples
from recalign.preprocessors.windows import ABSENT, Windows
from recalign.prompts import Slot


class BayesianPersonalizedRanking(Samples):
    """The next item of a window against one negative."""

    kind = "bpr"

    def __init__(self, request: Request):
        self._negatives = NegativeSampler(request.dataset, request.split, 1)
        super().__init__(request)

    def show(self, windows: Windows, draws: Draws) -> dict[Slot, Shown]:
        negative_Bx1 = self._negatives(windows.record_B, draws)
        target_Bx1 = windows.next_item_B[:, tf.newaxis]
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
        self._rule = masks.Corruption(settings.masking_ratio, settings.mean_span_length, sentinels)
        self._longest = masks.longest_that_fits(request.inputs, request.targets, self._rule)
        super().__init__(request)

    def __call__(self, sample_B: tf.Tensor, draws: Draws) -> Features:
        windows = self.windows(sample_B, draws)
        cost_BxW, fixed_B = self.history_cost({}, windows)
        budget = None if self._longest is None else self._longest + 1
        keep_BxW = windows.present_BxW & keep_recent(cost_BxW, fixed_B, budget)
        text = self.layout.tokens(
            self.request.prompt.inputs, self.history(windows, keep_BxW), budget
        )
        inputs, targets = masks.corrupt_spans(text, draws, self._rule, self._first_sentinel)
        return self.common(windows, keep_BxW) | {"inputs": inputs, "targets": targets}

    def _check_lengths(self) -> None:
        need = self.layout.least_tokens(self.request.prompt.inputs, 0)
        if self._longest is None or self._longest + 1 >= need:
            return
        noise, spans = self._rule.counts(need - 1)
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
