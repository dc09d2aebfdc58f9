"""The samples of P5's families: which interaction is asked about, and what the fields show.

The split is leave-one-out for every family, as in the paper (Appendix A.1): train samples show and
ask about training parts alone. Validation and test samples are shown by the template that the
paper evaluates (`EVALUATED`), and a user's pool is the one of the ranking task.
"""

import abc
import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from recalign.data.explanations import explained_places, reviewed_places
from recalign.data.prepared import PreparedDataset
from recalign.errors import UserError
from recalign.p5_templates import EVALUATED, FAMILIES
from recalign.preprocessors.draws import Draws
from recalign.preprocessors.memo import once_per_dataset
from recalign.preprocessors.negatives import NegativeSampler
from recalign.preprocessors.p5.layout import TemplateLayout, Values, star_values
from recalign.preprocessors.p5.templates import Template, all_templates, templates_file
from recalign.preprocessors.samples import (
    EVALUATED_SPLITS,
    SPLIT_NUMBERS,
    Features,
    Request,
    Samples,
    without_ratings,
)
from recalign.preprocessors.windows import ABSENT, WindowLookup, split_columns

_RATING_FIELDS = {"star_rating", "like_dislike"}


@dataclasses.dataclass(frozen=True)
class Interaction:
    """What a batch of samples asks about.

    Attributes:
        record_B: int64 [B], position in the split's `UserSequences`.
        place_B: int64 [B], the interaction's place in the split's columns.
        history_BxW: int32 [B, w], what came before, as `Windows`; None where it is not shown.
    """

    record_B: tf.Tensor
    place_B: tf.Tensor
    history_BxW: tf.Tensor | None = None


class P5Samples(Samples, abc.ABC):
    """A family's samples; subclasses say which interaction each asks about.

    Each train position draws one of the family's templates. Features beside the tokens: `target`,
    the item asked about or to recommend; `template`, P5's number as family * 100 + number (2-7 is
    207); `history` where there is one; `candidates` and `label` as the ranking and rating tasks.
    """

    def __init__(self, request: Request):
        if reason := self.lacking(request.dataset):
            raise UserError(f"{request.task}: {reason}")
        self.request = request
        self.templates = [t for t in self._family() if self._can_show(t)]
        if not self.templates:
            raise UserError(f"{request.task}: no template of P5 can be shown with this log")
        pool = request.settings.candidate_pool
        self._layout = TemplateLayout(
            self.templates,
            request.dataset,
            request.vocabulary,
            {"history": request.settings.history_length, "candidates": pool},
        )
        self._check_lengths()
        fields = frozenset[str]().union(*(t.fields for t in self.templates))
        self._needs_negatives = "candidates" in fields or self._asks_about_items()
        if self._needs_negatives:
            self._negatives = NegativeSampler(request.dataset, request.split, pool - 1)
        self._columns = split_columns(request.dataset, request.split)
        numbers = [int(a) * 100 + int(b) for a, b in (t.number.split("-") for t in self.templates)]
        with tf.init_scope():
            self._template_numbers = tf.constant(numbers, tf.int32)
            self._asks_yes_no = tf.constant([t.asks_for("yes_no") for t in self.templates])
            self._stars = tf.constant(star_values(request.dataset), tf.float32)

    def _family(self) -> list[Template]:
        """The templates of the split: all in training, the evaluated one elsewhere."""
        templates = all_templates(templates_file())
        if self.request.split != "train":
            return [templates[EVALUATED[self.kind]]]
        family = FAMILIES[self.kind]
        return [t for number, t in templates.items() if number.split("-")[0] == family]

    def _can_show(self, template: Template) -> bool:
        """Whether the log has what the template shows."""
        return self.request.dataset.has_ratings or not template.fields & _RATING_FIELDS

    def _asks_about_items(self) -> bool:
        """Whether a yes or no may be about an item that is not the user's."""
        return any(t.asks_for("yes_no") and not t.shows("star_rating") for t in self.templates)

    def __call__(self, sample_B: tf.Tensor, draws: Draws) -> Features:
        template_B = draws.below(
            "template", tf.fill(tf.shape(sample_B), tf.constant(len(self.templates), tf.int64))
        )
        asked_about = self._interaction(sample_B, draws)
        record_B, place_B = asked_about.record_B, asked_about.place_B
        item_B = tf.gather(self._columns.items, place_B)
        row_B = tf.gather(self._columns.rows, record_B)
        features: Features = {
            "row": row_B,
            "split": tf.fill(
                tf.shape(row_B), tf.constant(SPLIT_NUMBERS[self.request.split], tf.int64)
            ),
            "target": item_B,
            "template": tf.gather(self._template_numbers, template_B),
        }
        asked = {"user_id": row_B, "user_name": row_B, "item_id": item_B, "item_title": item_B}
        asked = {name: number_B[:, tf.newaxis] for name, number_B in asked.items()}
        answered = dict(asked)
        is_so_B = draws.uniform("yes or no", 1)[:, 0] < 0.5
        answered["yes_no"] = tf.cast(is_so_B, tf.int32)[:, tf.newaxis]
        is_other_B = tf.gather(self._asks_yes_no, template_B) & tf.logical_not(is_so_B)
        if self._needs_negatives:
            negatives_BxN = self._negatives(record_B, draws)
            other_B = tf.where(is_other_B, negatives_BxN[:, 0], item_B)[:, tf.newaxis]
            if self._asks_about_items():
                asked |= {"item_id": other_B, "item_title": other_B}
            asked["candidates"] = self._pool(item_B, negatives_BxN, draws)
            if self.evaluated_as == "ranking" and self.request.split != "train":
                features["candidates"] = asked["candidates"]
        if self._columns.ratings is not None:
            rating_B = tf.gather(self._columns.ratings, place_B)
            stars_B = tf.searchsorted(self._stars, rating_B)
            answered["star_rating"] = stars_B[:, tf.newaxis]
            other_B = tf.where(is_other_B, self._other_stars(stars_B, draws), stars_B)
            asked["star_rating"] = other_B[:, tf.newaxis]
            like_B = tf.cast(rating_B > self.request.settings.like_threshold, tf.int32)
            answered["like_dislike"] = like_B[:, tf.newaxis]
            if self.evaluated_as == "rating":
                features["label"] = like_B
        texts = self._texts(sample_B)
        history_BxW = asked_about.history_BxW
        if history_BxW is None:
            features["history"] = tf.RaggedTensor.from_row_lengths(
                tf.zeros([0], tf.int32), tf.zeros_like(sample_B)
            )
        else:
            whole = Values(asked | {"history": history_BxW}, texts)
            keep_BxW = self._layout.inputs.kept_history(template_B, whole, self.request.inputs)
            asked["history"] = tf.where(keep_BxW, history_BxW, ABSENT)
            features["history"] = tf.ragged.boolean_mask(history_BxW, keep_BxW)
        return features | {
            "inputs": self._layout.inputs.tokens(
                template_B, Values(asked, texts), self.request.inputs
            ),
            "targets": self._layout.targets.tokens(
                template_B, Values(answered, texts), self.request.targets
            ),
        }

    @abc.abstractmethod
    def _interaction(self, sample_B: tf.Tensor, draws: Draws) -> Interaction:
        """What the samples ask about."""

    def _texts(self, sample_B: tf.Tensor) -> dict[str, tf.Tensor]:
        """What the samples' text fields show."""
        return {}

    def _pool(self, item_B: tf.Tensor, negatives_BxN: tf.Tensor, draws: Draws) -> tf.Tensor:
        """int32 [B, pool], the ranking task's pool in its order."""
        pool = self.request.settings.candidate_pool
        pool_BxC = tf.concat([item_B[:, tf.newaxis], negatives_BxN], axis=1)
        order_BxC = tf.argsort(draws.order("pool", pool), axis=1)
        return tf.ensure_shape(tf.gather(pool_BxC, order_BxC, axis=1, batch_dims=1), [None, pool])

    def _other_stars(self, stars_B: tf.Tensor, draws: Draws) -> tf.Tensor:
        """int32 [B], another number of stars; the same where the log has no other."""
        count = int(self._stars.shape[0])
        step_B = draws.below("other stars", tf.fill(tf.shape(stars_B), max(1, count - 1)))
        return (stars_B + 1 + tf.cast(step_B, tf.int32)) % count

    def _check_lengths(self) -> None:
        for feature, side, given in (
            ("inputs", self._layout.inputs, self.request.inputs),
            ("targets", self._layout.targets, self.request.targets),
        ):
            if given is not None and given < side.least:
                raise UserError(
                    f"{self.request.task}: {given} tokens of {feature} are too few: {side.least} "
                    f"are needed for the shortest form of every template: set "
                    f"TASK_FEATURE_LENGTHS['{feature}'] to at least {side.least}"
                )


class Sequential(P5Samples):
    """Family 2: the item that follows a window, named, picked from a pool, or confirmed."""

    kind = "p5_sequential"
    splits = EVALUATED_SPLITS
    evaluated_as = "retrieval"

    def __init__(self, request: Request):
        super().__init__(request)
        self.windows = WindowLookup(
            "retrieval", request.dataset, request.split, request.settings.history_length
        )

    def __len__(self) -> int:
        return len(self.windows)

    def _interaction(self, sample_B: tf.Tensor, draws: Draws) -> Interaction:
        windows = self.windows(sample_B, draws)
        assert windows.place_B is not None
        return Interaction(windows.record_B, windows.place_B, windows.history_BxW)


class SequentialRanking(Sequential):
    """Template 2-7: the item that follows a window, picked from a pool; for evaluation only."""

    kind = "p5_2_7"
    splits = ("validation", "test")
    evaluated_as = "ranking"


class Direct(P5Samples):
    """Family 5: an item of the user's without a history, one of the training part at each draw."""

    kind = "p5_direct"
    splits = EVALUATED_SPLITS
    evaluated_as = "ranking"

    def __init__(self, request: Request):
        super().__init__(request)
        lengths = self._columns.lengths.numpy()
        with tf.init_scope():
            self._records = tf.constant(np.flatnonzero(lengths), tf.int64)

    def __len__(self) -> int:
        return int(self._records.shape[0])

    def _interaction(self, sample_B: tf.Tensor, draws: Draws) -> Interaction:
        record_B = tf.gather(self._records, sample_B)
        start_B = tf.gather(self._columns.starts, record_B)
        length_B = tf.gather(self._columns.lengths, record_B)
        if self.request.split != "train":
            return Interaction(record_B, start_B + length_B - 1)
        return Interaction(record_B, start_B + draws.below("which item", length_B))


class _OfInteractions(P5Samples):
    """A sample for some of a split's interactions."""

    def __init__(self, request: Request):
        super().__init__(request)
        starts, lengths = self._columns.starts.numpy(), self._columns.lengths.numpy()
        lasts = (starts + lengths - 1)[lengths > 0]
        places = self._places() if request.split == "train" else lasts
        records = np.searchsorted(starts + lengths, places, side="right")
        with tf.init_scope():
            self._place, self._record = tf.constant(places), tf.constant(records, tf.int64)

    @abc.abstractmethod
    def _places(self) -> np.ndarray:
        """int64, ascending: which interactions of the training parts there are samples of."""

    def __len__(self) -> int:
        return int(self._place.shape[0])

    def _interaction(self, sample_B: tf.Tensor, draws: Draws) -> Interaction:
        return Interaction(tf.gather(self._record, sample_B), tf.gather(self._place, sample_B))


class Rating(_OfInteractions):
    """Family 1: what the user thinks of an item."""

    kind = "p5_rating"
    splits = EVALUATED_SPLITS
    evaluated_as = "rating"

    @classmethod
    def lacking(cls, dataset: PreparedDataset) -> str | None:
        return without_ratings(dataset)

    def _places(self) -> np.ndarray:
        return np.arange(int(self._columns.items.shape[0]), dtype=np.int64)


@dataclasses.dataclass(frozen=True)
class ReviewTexts:
    """What is shown of the reviews in the training parts.

    Attributes:
        places: int64 [n], ascending: the interactions' places in the split's columns.
        texts: string [n] for each text field, "headline" only where the log has any.
    """

    places: np.ndarray
    texts: dict[str, tf.Tensor]


@once_per_dataset
def _written_reviews(dataset: PreparedDataset) -> ReviewTexts:
    """Reviews with a text and, if the log has headlines, a headline."""
    reviews = dataset.reviews("train")
    places = reviewed_places(reviews)
    return _of_places(dataset, places, {"review": pc.take(reviews.texts, pa.array(places))})


@once_per_dataset
def _explanations(dataset: PreparedDataset) -> ReviewTexts:
    """Those of them that hold an explanation."""
    places, found = explained_places(dataset.reviews("train"))
    texts = {"explanation": found.sentences, "feature": found.features}
    return _of_places(dataset, places, texts)


def _of_places(
    dataset: PreparedDataset, places: np.ndarray, texts: dict[str, pa.LargeStringArray]
) -> ReviewTexts:
    headlines = pc.take(dataset.reviews("train").summaries, pa.array(places))
    if len(places) and headlines[0].as_py():
        texts = texts | {"headline": headlines}
    with tf.init_scope():
        return ReviewTexts(
            places,
            {
                name: tf.constant(text.to_numpy(zero_copy_only=False), tf.string)
                for name, text in texts.items()
            },
        )


class _OfReviews(_OfInteractions):
    """A sample for each review of the training parts."""

    @classmethod
    def lacking(cls, dataset: PreparedDataset) -> str | None:
        if not dataset.has_reviews:
            return (
                f"dataset {dataset.name!r} has no review texts: prepare it with --review_texts from"
                " a log that has them, or use another task"
            )
        if not len(cls.reviews(dataset).places):
            return f"no review in the training parts of {dataset.name!r} holds what is shown"
        return None

    @staticmethod
    @abc.abstractmethod
    def reviews(dataset: PreparedDataset) -> ReviewTexts:
        """The reviews that there are samples of."""

    def _can_show(self, template: Template) -> bool:
        has_headlines = "headline" in self.reviews(self.request.dataset).texts
        return super()._can_show(template) and (has_headlines or "headline" not in template.fields)

    def _places(self) -> np.ndarray:
        return self.reviews(self.request.dataset).places

    def _texts(self, sample_B: tf.Tensor) -> dict[str, tf.Tensor]:
        texts = self.reviews(self.request.dataset).texts
        return {name: tf.gather(text, sample_B) for name, text in texts.items()}


class Explanation(_OfReviews):
    """Family 3: a sentence of the user's review of an item."""

    kind = "p5_explanation"

    @staticmethod
    def reviews(dataset: PreparedDataset) -> ReviewTexts:
        return _explanations(dataset)


class Review(_OfReviews):
    """Family 4: the headline of a review, or its stars."""

    kind = "p5_review"

    @staticmethod
    def reviews(dataset: PreparedDataset) -> ReviewTexts:
        return _written_reviews(dataset)
