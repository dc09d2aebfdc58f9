"""All samples of a task and split: its preprocessors, bound to the data and called on batches."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

import seqio
import tensorflow as tf

from recalign.data.prepared import PreparedDataset
from recalign.errors import UserError
from recalign.preprocessors.fields import FieldType
from recalign.preprocessors.layout import Layout
from recalign.preprocessors.preprocessor import TOKENS, Batch, Context, Epoch, Lengths, Preprocessor
from recalign.preprocessors.settings import TaskSettings
from recalign.prompts import with_verb
from recalign.wording import Prompt, Template


class Wording(Protocol):
    """A prompt, or a family of them."""

    def templates(self, where: str, products: str, split: str) -> Sequence[Template]:
        """The templates that show the samples of a split."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What makes the samples of a task called `task`: its wording, our preprocessors in order, the
    first of which says how many there are, and the noun for what users buy."""

    task: str
    prompt: Wording
    preprocessors: Sequence[Preprocessor]
    products: str = "products"

    def worded(self, dataset: PreparedDataset) -> "Recipe":
        """In the words that a dataset says of itself (`prepare --noun --verb`)."""
        wording = dataset.info.get("wording") or {}
        prompt, verb = self.prompt, wording.get("verb") or ()
        if verb and isinstance(prompt, Prompt):
            prompt = with_verb(prompt, *verb)
        products = wording.get("noun") or self.products
        return dataclasses.replace(self, prompt=prompt, products=products)

    @property
    def types(self) -> Mapping[str, FieldType]:
        return {name: made for step in self.preprocessors for name, made in step.makes.items()}

    def templates(self, split: str) -> Sequence[Template]:
        """The templates of a split, whether or not a log has what they show."""
        return self.prompt.templates(self.task, self.products, split)

    def missing(self, dataset: PreparedDataset) -> Mapping[str, str]:
        """The fields that a dataset has nothing for, with the reason."""
        reasons = [step.missing(dataset) for step in self.preprocessors]
        return {name: reason for its in reasons for name, reason in its.items()}

    def lacking(self, dataset: PreparedDataset, split: str = "train") -> str | None:
        """Why a dataset has no samples of this kind; None where it has."""
        missing = self.missing(dataset)
        templates = self.templates(split)
        if not missing or not templates or self.shown(split, missing):
            return missing.get("record")
        lost = (field.name for template in templates for field in template.fields())
        return next(missing[name] for name in lost if name in missing)

    def shown(self, split: str, missing: Mapping[str, str]) -> list[Template]:
        """The templates that show nothing that is missing."""
        templates = self.templates(split)
        return [t for t in templates if not any(f.name in missing for f in t.fields())]

    def epoch(self, context: Context) -> Epoch:
        """The first preprocessor's function, which says how many samples there are."""
        first = self.preprocessors[0]
        function = first.bind(context)
        if not isinstance(function, Epoch):
            raise UserError(
                f"{self.task}: {first} comes first, so its function must be an Epoch, which says "
                "how many samples there are; or put next_item_windows() before it"
            )
        return function


class Samples:
    """The samples of a split, by number."""

    def __init__(
        self,
        recipe: Recipe,
        dataset: PreparedDataset,
        split: str,
        vocabulary: seqio.SentencePieceVocabulary,
        settings: TaskSettings,
        lengths: Lengths,
        key: int = 0,
    ):
        """Binds the preprocessors.

        Args:
            lengths: the most tokens of "inputs" and "targets", EOS included; None for any number.
            key: of all that is drawn (`draws.stream_key`).

        Raises:
            UserError: the log lacks what the samples show, the lengths are too short, or the
                catalogue is too small for the pools.
        """
        if reason := recipe.lacking(dataset, split):
            raise UserError(f"{recipe.task}: {reason}")
        self.settings = settings
        missing = recipe.missing(dataset)
        steps = [s for s in recipe.preprocessors if not s.makes or set(s.makes) - set(missing)]
        types = {name: made for name, made in recipe.types.items() if name not in missing}
        templates = recipe.shown(split, missing)
        layout = Layout(templates, types, dataset, vocabulary, settings)
        asked = {feature: lengths.get(feature) for feature in TOKENS}
        context = Context(recipe.task, dataset, split, settings, key, asked, asked, layout)
        fitted = []
        for step in reversed(steps):
            fitted.append((step, context))
            context = dataclasses.replace(context, lengths=step.room(context))
        (_, of_first), *later = reversed(fitted)
        self._epoch = recipe.epoch(of_first)
        self._later = [step.bind(context) for step, context in later]

    def __len__(self) -> int:
        return self._epoch.size

    def __call__(self, sample_B: tf.Tensor, position_B: tf.Tensor) -> Batch:
        """The features of samples 0 … len - 1, drawn for these positions, both int64 [B]."""
        return self._rest(self._epoch({"sample": sample_B, "position": position_B}))

    def of_histories(self, history_BxW: tf.Tensor, row_B: tf.Tensor) -> Batch:
        """The inputs of examples with these histories instead of users' windows.

        Histories are int32 [B, w], the oldest item first, negative before a short one. Rows are the
        users', int64 [B]; a prompt that names its user leaves a negative one out.
        """
        zero_B = tf.zeros_like(row_B)
        batch = dict.fromkeys(("sample", "position", "record", "place"), zero_B)
        zeros = {"target": tf.cast(zero_B, tf.int32), "history_place": history_BxW * 0}
        return self._rest(batch | zeros | {"row": row_B, "history": history_BxW})

    def _rest(self, batch: Batch) -> Batch:
        for function in self._later:
            batch = function(batch)
        return batch
