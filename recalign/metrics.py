"""Hit ratio, NDCG and AUC: plain functions of numpy arrays, and SeqIO metrics that read beams."""

import abc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import flax
import numpy as np
import seqio
from jaxtyping import Float, Int
from seqio.metrics import ModelOutputType

from recalign.prompts import LIKE_DISLIKE, YES_NO

ALPHA = 0.6
"""The exponent of the length penalty in T5X's beam search."""

_UNFILLED = -1e6
"""Below it a score is no beam's but the place of one that the search never filled."""

Results = dict[str, float]


# Functions ----------------------------------------------------------------------------------------


def gains(ranks: Float[np.ndarray, " n"], metric: str) -> Float[np.ndarray, " n"]:
    """Each target's share in "hr@K" or "ndcg@K" of one relevant item: the metric is their mean.

    Ranks count from 0; infinity is a miss.

    >>> gains(np.array([0.0, 2.0, np.inf]), "ndcg@5").round(4).tolist()
    [1.0, 0.5, 0.0]
    """
    name, cutoff = metric.split("@")
    ranks = np.asarray(ranks, np.float64)
    within = ranks < int(cutoff)
    if name == "hr":
        return within.astype(np.float64)
    return np.where(within, 1.0 / np.log2(np.where(within, ranks, 0.0) + 2.0), 0.0)


def hit_ratio(ranks: Float[np.ndarray, " n"], k: int) -> float:
    """HR@k: the share of targets among the first k."""
    return mean(gains(ranks, f"hr@{k}"))


def ndcg(ranks: Float[np.ndarray, " n"], k: int) -> float:
    """NDCG@k: the mean of 1 / log2(rank + 2) over ranks below k, and of 0 over others."""
    return mean(gains(ranks, f"ndcg@{k}"))


def mean(values: Float[np.ndarray, " n"]) -> float:
    """NaN of none."""
    return float(np.mean(values)) if len(values) else float("nan")


def auc_roc(scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> float:
    """The chance that a positive's score is above a negative's; ties count half.

    NaN where the labels are all the same.
    """
    from scipy.stats import rankdata

    labels = np.asarray(labels).astype(bool)
    positives, negatives = int(labels.sum()), int((~labels).sum())
    if not positives or not negatives:
        return float("nan")
    rank_sum = rankdata(scores)[labels].sum()
    return float((rank_sum - positives * (positives + 1) / 2.0) / (positives * negatives))


def rank_in(target: str, beams: Sequence[str]) -> float:
    """The target's rank among the beams, best first, repeats dropped; infinity where it is absent.

    >>> rank_in("I7", ["I2", "I2", "I7"])
    1.0
    """
    distinct = list(dict.fromkeys(beams))
    return float(distinct.index(target)) if target in distinct else float("inf")


def rank_among(
    scores: Float[np.ndarray, " C"], candidates: Int[np.ndarray, " C"], target: int
) -> float:
    """The target's rank in a pool, the highest score first; ties go by the place in the pool.

    >>> rank_among(np.array([0.5, 0.9, 0.5]), np.array([7, 3, 4]), 4)
    2.0
    """
    order_C = np.argsort(-np.asarray(scores), kind="stable")
    return float(np.flatnonzero(candidates[order_C] == target)[0])


def retrieval_results(ranks: Float[np.ndarray, " n"]) -> Results:
    """HR and NDCG at 5 and 10."""
    results = {name: mean(gains(ranks, name)) for name in ("hr@5", "hr@10", "ndcg@5", "ndcg@10")}
    return results | {"num_examples": float(len(ranks))}


def ranking_results(ranks: Float[np.ndarray, " n"]) -> Results:
    """HR at 1, 5 and 10, NDCG at 5 and 10."""
    return {"hr@1": mean(gains(ranks, "hr@1"))} | retrieval_results(ranks)


def rating_results(scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> Results:
    return {"auc_roc": auc_roc(scores, labels), "num_examples": float(len(labels))}


# Beams --------------------------------------------------------------------------------------------


def without_length_penalty(
    scores: Float[np.ndarray, "*beams"], lengths: Int[np.ndarray, "*beams"], alpha: float = ALPHA
) -> Float[np.ndarray, "*beams"]:
    """Log-probabilities from T5X's scores of finished beams, divided by ((5 + length) / 6)^alpha.

    Lengths count the end of sequence.
    """
    return np.asarray(scores) * ((5.0 + np.asarray(lengths)) / 6.0) ** alpha


def yes_no_score(
    answers: Sequence[str], log_probs: Float[np.ndarray, " beams"], no_yes: tuple[str, str] = YES_NO
) -> float:
    """log P(yes) - log P(no) over an example's beams.

    An answer that is in no beam is at most as likely as the least likely beam, so that beam's
    log-probability stands for it.
    """
    log_probs = np.asarray(log_probs, np.float64)
    filled = log_probs > _UNFILLED
    if not filled.any():
        return 0.0
    bound = float(log_probs[filled].min())
    no, yes = no_yes
    best = {yes: -np.inf, no: -np.inf}
    for answer, log_prob in zip(answers, log_probs, strict=True):
        if answer in best:
            best[answer] = max(best[answer], float(log_prob))
    positive, negative = (value if value > _UNFILLED else bound for value in best.values())
    return positive - negative


class Detokenizer:
    """Token ids to texts. Answers repeat a lot, so each distinct one is decoded once."""

    def __init__(self, vocabulary: seqio.Vocabulary):
        self._vocabulary = vocabulary
        self._texts: dict[bytes, str] = {}

    def __call__(self, tokens: Int[np.ndarray, "*rows T"]) -> np.ndarray:
        """Texts, str objects [*rows]: of the tokens before the first EOS or padding, stripped."""
        tokens = np.asarray(tokens, np.int32)
        ends = (tokens == self._vocabulary.eos_id) | (tokens == 0)
        tokens = np.where(np.logical_or.accumulate(ends, axis=-1), 0, tokens)
        rows = tokens.reshape(-1, tokens.shape[-1])
        texts = np.empty(len(rows), object)
        texts[:] = [self._text(row.tobytes()) for row in rows]
        return texts.reshape(tokens.shape[:-1])

    def _text(self, row: bytes) -> str:
        if row not in self._texts:
            tokens = np.frombuffer(row, np.int32)
            self._texts[row] = self._vocabulary.decode(tokens[tokens != 0].tolist()).strip()
        return self._texts[row]


def _beams(model_output: tuple[np.ndarray, Mapping[str, Any]]) -> tuple[np.ndarray, Any]:
    """Tokens as [N, K, T] (K = 1 where there is one decode), and the auxiliary values."""
    tokens, values = model_output
    tokens = np.asarray(tokens)
    return (tokens[:, np.newaxis] if tokens.ndim == 2 else tokens), values


def _log_probs(tokens_NxKxT: np.ndarray, values: Mapping[str, Any]) -> np.ndarray:
    shape = tokens_NxKxT.shape[:2]
    if "log_probs" in values:
        return np.asarray(values["log_probs"], np.float64).reshape(shape)
    lengths_NxK = (tokens_NxKxT != 0).sum(axis=2)
    scores_NxK = np.asarray(values["scores"], np.float64).reshape(shape)
    return np.where(
        scores_NxK > _UNFILLED, without_length_penalty(scores_NxK, lengths_NxK), scores_NxK
    )


# SeqIO metrics ------------------------------------------------------------------------------------


def examples_with_beams(
    inputs: Iterable[Mapping[str, Any]],
    model_output: tuple[np.ndarray, Mapping[str, Any]],
    features: Mapping[str, seqio.Feature],
    target_field_name: str = "targets",
    mask: np.ndarray | None = None,
    indices_2d: np.ndarray | None = None,
) -> Iterator[tuple[Mapping[str, Any], str, list[str]]]:
    """Each of N examples, its target and the texts of its beams, best first.

    `model_output`: tokens [N, K, T] ascending, best last, and {"scores": [N, K]}. `mask` says which
    examples count; None for all. The arguments are SeqIO's, which passes `indices_2d` too.
    """
    del indices_2d
    texts_of = Detokenizer(features[target_field_name].vocabulary)
    tokens_NxKxT, _ = _beams(model_output)
    texts_NxK = texts_of(tokens_NxKxT)
    for number, (example, beams_K) in enumerate(zip(inputs, texts_NxK, strict=False)):
        if mask is None or mask[number]:
            yield example, texts_of(example[target_field_name]).item(), beams_K[::-1].tolist()


@flax.struct.dataclass
class _OfExamples(seqio.metrics.Metric, abc.ABC):
    """Arrays with a number an example."""

    model_output_type: ModelOutputType = ModelOutputType.PREDICTION_WITH_AUX

    @classmethod
    def empty(cls) -> Self:
        return cls()

    def merge(self, other: Self) -> Self:
        arrays = {name: it for name, it in vars(self).items() if isinstance(it, np.ndarray)}
        return self.replace(
            **{name: np.concatenate([it, getattr(other, name)]) for name, it in arrays.items()}
        )


@flax.struct.dataclass
class MeanOverExamples(_OfExamples):
    """The mean of a number that each example's beams give; subclasses say which, and its name.

    class Found(MeanOverExamples):
        name = "found"

        @classmethod
        def value(cls, example, target, beams):
            return float(target in beams)
    """

    name = ""
    values: np.ndarray = flax.struct.field(default_factory=lambda: np.zeros(0))

    @classmethod
    @abc.abstractmethod
    def value(cls, example: Mapping[str, Any], target: str, beams: Sequence[str]) -> float:
        """The example's number, of its beams, best first."""

    @classmethod
    def from_model_output(cls, *arguments: Any, **named: Any) -> Self:
        """Reads beams, as `examples_with_beams`."""
        found = examples_with_beams(*arguments, **named)
        return cls(values=np.array([cls.value(*one) for one in found], np.float64))

    def compute(self) -> Results:
        return {self.name: mean(self.values)}


@flax.struct.dataclass
class _Ranks(_OfExamples):
    """Ranks of targets among beams, and how many beams were something that may be answered."""

    results = staticmethod(retrieval_results)
    valid_rate = "valid_id_rate"
    ranks: np.ndarray = flax.struct.field(default_factory=lambda: np.zeros(0))
    valid: np.ndarray = flax.struct.field(default_factory=lambda: np.zeros(0))

    @classmethod
    @abc.abstractmethod
    def valid_answers(cls) -> Callable[[Mapping[str, Any]], frozenset[str]]:
        """Gives, for an example, the texts that may answer it."""

    @classmethod
    def from_model_output(cls, *arguments: Any, **named: Any) -> Self:
        """Reads beams, as `examples_with_beams`."""
        valid_answers = cls.valid_answers()
        ranks, valid = [], []
        for example, target, beams in examples_with_beams(*arguments, **named):
            allowed = valid_answers(example)
            ranks.append(rank_in(target, beams))
            valid.append(np.mean([beam in allowed for beam in beams]))
        return cls(ranks=np.array(ranks, np.float64), valid=np.array(valid, np.float64))

    def compute(self) -> Results:
        return self.results(self.ranks) | {self.valid_rate: mean(self.valid)}


def retrieval_metric(ids: Callable[[], Sequence[str]]) -> type[_Ranks]:
    """A SeqIO metric of retrieval: HR and NDCG at 5 and 10, and how many beams are items.

    `ids` gives the catalogue's IDs; it is called when the metric is computed.
    """

    @flax.struct.dataclass
    class Retrieval(_Ranks):
        @classmethod
        def valid_answers(cls) -> Callable[[Mapping[str, Any]], frozenset[str]]:
            catalogue = frozenset(ids())
            return lambda example: catalogue

    return Retrieval


def ranking_metric(ids: Callable[[], Sequence[str]]) -> type[_Ranks]:
    """A SeqIO metric of ranking: HR at 1, 5 and 10, NDCG at 5 and 10, beams that are candidates.

    `ids` gives the catalogue's IDs; it is called when the metric is computed.
    """

    @flax.struct.dataclass
    class Ranking(_Ranks):
        results = staticmethod(ranking_results)
        valid_rate = "valid_candidate_rate"

        @classmethod
        def valid_answers(cls) -> Callable[[Mapping[str, Any]], frozenset[str]]:
            catalogue = ids()
            return lambda example: frozenset(catalogue[item] for item in example["candidates"])

    return Ranking


@flax.struct.dataclass
class Rating(_OfExamples):
    """AUC-ROC of log P(yes) - log P(no), read from beams; subclasses may have other answers.

    Takes `log_probs` beside `scores` where the decoder gives them; T5X's scores alone have their
    length penalty undone.
    """

    scores: np.ndarray = flax.struct.field(default_factory=lambda: np.zeros(0))
    labels: np.ndarray = flax.struct.field(default_factory=lambda: np.zeros(0, np.int64))

    @classmethod
    def no_yes(cls) -> tuple[str, str]:
        """The two answers, the negative one first."""
        return YES_NO

    @classmethod
    def from_model_output(
        cls,
        inputs: Iterable[Mapping[str, Any]],
        model_output: tuple[np.ndarray, Mapping[str, Any]],
        features: Mapping[str, seqio.Feature],
        target_field_name: str = "targets",
        mask: np.ndarray | None = None,
        indices_2d: np.ndarray | None = None,
    ) -> "Rating":
        """Reads beams, as `examples_with_beams`; "log_probs" [N, K] may stand beside "scores"."""
        found = examples_with_beams(inputs, model_output, features, target_field_name, mask)
        log_probs_NxK = _log_probs(*_beams(model_output))
        if mask is not None:
            log_probs_NxK = log_probs_NxK[np.asarray(mask, bool)]
        scores, labels = [], []
        for (example, _, beams), log_probs_K in zip(found, log_probs_NxK, strict=False):
            scores.append(yes_no_score(beams, log_probs_K[::-1], cls.no_yes()))
            labels.append(int(example["label"]))
        return cls(scores=np.array(scores, np.float64), labels=np.array(labels, np.int64))

    def compute(self) -> Results:
        return rating_results(self.scores, self.labels)


@flax.struct.dataclass
class LikeDislike(Rating):
    """AUC-ROC of log P(like) - log P(dislike): P5's template 1-4."""

    @classmethod
    def no_yes(cls) -> tuple[str, str]:
        return LIKE_DISLIKE
