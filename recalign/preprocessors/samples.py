"""What all tasks' samples have in common: from windows to tokens that fit, and their features."""

import dataclasses
from collections.abc import Mapping

import seqio
import tensorflow as tf

from recalign.data.prepared import PreparedDataset
from recalign.errors import UserError
from recalign.preprocessors.draws import Draws
from recalign.preprocessors.fitting import keep_recent
from recalign.preprocessors.layout import Layout, Shown
from recalign.preprocessors.phrases import EMPTY
from recalign.preprocessors.settings import TaskSettings
from recalign.preprocessors.windows import WindowLookup, Windows
from recalign.prompts import Prompt, Slot

Features = dict[str, tf.Tensor | tf.RaggedTensor]
"""A batch of examples: rows of ragged tensors become vectors of their own length."""

EVALUATED_SPLITS: tuple[str, ...] = ("train", "validation", "test")

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
    splits: tuple[str, ...] = ("train",)
    evaluated_as = ""
    """The task whose metrics, answers and held-out pools are this one's; "" for no such task."""

    @classmethod
    def lacking(cls, dataset: PreparedDataset) -> str | None:
        """Why a dataset has no samples of this kind; None where it has."""
        return None

    def __init__(self, request: Request):
        if reason := self.lacking(request.dataset):
            raise UserError(f"{request.task}: {reason}")
        self.request = request
        self.layout = Layout(request.prompt, request.dataset, request.vocabulary, request.products)
        self.table = self.layout.table
        self.windows = WindowLookup(
            self.kind,
            request.dataset,
            request.split,
            request.settings.history_length,
            request.settings.every_prefix,
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
        """What the slots other than the history's show: nothing, unless a kind of task has some."""
        return {}

    def examples(
        self, windows: Windows, shown: dict[Slot, Shown], keep_BxW: tf.Tensor, draws: Draws
    ) -> Features:
        """`inputs`, `targets` and the task's own features."""
        return {
            "inputs": self.layout.tokens(
                self.request.prompt.inputs,
                shown | self.history(windows, keep_BxW),
                self.request.inputs,
            ),
            "targets": self.layout.tokens(self.request.prompt.targets, shown, self.request.targets),
        } | self.extra(windows, shown)

    def extra(self, windows: Windows, shown: dict[Slot, Shown]) -> Features:
        """The task's own features."""
        return {"target": windows.next_item_B}

    def history(self, windows: Windows, keep_BxW: tf.Tensor) -> dict[Slot, Shown]:
        """The kept items of the history, in its slots."""
        if Slot.HISTORY_IDS in self.layout.prompt.slots:
            id_BxW = self.table.of_items("id", windows.history_BxW)
            return {Slot.HISTORY_IDS: Shown(tf.where(keep_BxW, id_BxW, EMPTY))}
        return {Slot.HISTORY: self.items(windows.history_BxW, keep_BxW, titles=1)}

    def history_cost(
        self, shown: Mapping[Slot, Shown], windows: Windows
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """int32 [B, w] tokens of each item of the history, and int32 [B] of everything else."""
        fixed_B = self.layout.fixed_tokens(self.request.prompt.inputs) + sum(
            tf.reduce_sum(self.table.tokens_in(shown[section.slot].phrase_BxN), axis=1)
            for section in self.request.prompt.inputs
            if section.slot is not None and section.slot in shown
        )
        if not isinstance(fixed_B, tf.Tensor):
            fixed_B = tf.fill(tf.shape(windows.record_B), fixed_B)
        phrase_BxW = self.table.of_items(self.layout.history_block, windows.history_BxW)
        return self.table.tokens_in(phrase_BxW), fixed_B

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
                has_pool = any(section.slot == Slot.CANDIDATES for section in sections)
                shown = (
                    f"the longest pool of {pool} candidates, its question and one item of history"
                    if has_pool
                    else "the shortest form of every prompt"
                )
                raise UserError(
                    f"{self.request.task}: {given} tokens of {feature} are too few: {need} are "
                    f"needed for {shown}: set TASK_FEATURE_LENGTHS['{feature}'] to at least {need}"
                    + (", or a smaller TaskSettings.candidate_pool" if has_pool else "")
                )


def without_ratings(dataset: PreparedDataset) -> str | None:
    """Why there is nothing to say about ratings, where there is not."""
    if dataset.has_ratings:
        return None
    return (
        f"the log of dataset {dataset.name!r} has no ratings, so there are no likes to predict: "
        "prepare it from a log with a rating column, or use another task"
    )
