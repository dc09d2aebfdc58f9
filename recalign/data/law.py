"""The law that generates a synthetic log, and the Bayes rule that inverts it.

A catalogue of themed items and users with one favourite theme each (their taste). A user's next
item is drawn from a mixture, without the items that the user already has:

    P(i | history, taste) is proportional to
        taste_weight      * popularity_i * [theme_i = taste] / (sum over the theme)
      + sequel_weight     * [i = sequel(last item)]
      + popularity_weight * popularity_i / (sum over the catalogue)

The first item has no predecessor: the sequel's weight goes to the taste. Whether the user likes an
item follows from the item's quality, which its title names, and from the taste, with noise:

    P(like | i, taste) = sigmoid(quality_i + taste_effect * (+1 if theme_i = taste else -1))

Every quantity is known, so the best possible prediction from a history is Bayes' rule over the
tastes, computed here exactly. It is the demo's optimum.
"""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from recalign.data.arrays_file import read_arrays
from recalign.errors import UserError, shown

LIKED_RATINGS = (4, 5)
"""The stars of a like, each as likely."""

OTHER_RATINGS = (1, 2, 3)
"""The stars of what is not liked, each as likely."""


@dataclasses.dataclass(frozen=True)
class Law:
    """Parameters of the law; N items, K themes. The three weights of the mixture sum to 1."""

    raw_ids: np.ndarray  # str [N], the log's own name of each item
    theme: Int[np.ndarray, "N"]  # 0..K-1; every theme has items
    quality: Float[np.ndarray, "N"]  # in logits
    popularity: Float[np.ndarray, "N"]  # positive, sums to 1
    sequel: Int[np.ndarray, "N"]  # the item that tends to follow each item
    taste_weight: float
    sequel_weight: float
    popularity_weight: float
    taste_effect: float  # logits that a matching theme adds to, and any other takes from, a like

    @property
    def num_themes(self) -> int:
        return int(self.theme.max()) + 1

    @functools.cached_property
    def by_taste_KxN(self) -> Float[np.ndarray, "K N"]:
        """P(item | taste) by taste alone: a row a taste, rows sum to 1."""
        in_theme = np.arange(self.num_themes)[:, None] == self.theme[None, :]
        weights = in_theme * self.popularity
        return weights / weights.sum(axis=1, keepdims=True)

    def next_item_given_taste(self, history: Sequence[int]) -> Float[np.ndarray, "K N"]:
        """P(next item | history, taste) for every taste; rows sum to 1, seen items are 0."""
        mixture = self.popularity_weight * self.popularity + self.taste_weight * self.by_taste_KxN
        if len(history):
            mixture[:, self.sequel[history[-1]]] += self.sequel_weight
        else:
            mixture += self.sequel_weight * self.by_taste_KxN
        mixture[:, list(history)] = 0.0
        return mixture / mixture.sum(axis=1, keepdims=True)

    def taste_posterior(self, history: Sequence[int]) -> Float[np.ndarray, "K"]:
        """P(taste | the user's whole history so far), from a uniform prior; a UserError where an
        item stands there twice, as in no history that the law draws."""
        if len({*history}) < len(history):
            raise UserError(f"no history of the law has an item twice: {shown([*history])}")
        log_posterior = np.zeros(self.num_themes)
        for end, item in enumerate(history):
            log_posterior += np.log(self.next_item_given_taste(history[:end])[:, item])
        posterior = np.exp(log_posterior - log_posterior.max())
        return posterior / posterior.sum()

    def next_item(self, history: Sequence[int]) -> Float[np.ndarray, "N"]:
        """P(next item | history): the Bayes rule, tastes summed out."""
        return self.taste_posterior(history) @ self.next_item_given_taste(history)

    def like(self, item: int) -> Float[np.ndarray, "K"]:
        """P(like | item, taste) for every taste."""
        match = np.where(np.arange(self.num_themes) == self.theme[item], 1.0, -1.0)
        return 1.0 / (1.0 + np.exp(-(self.quality[item] + self.taste_effect * match)))

    def rated_above(self, item: int, threshold: float) -> Float[np.ndarray, "K"]:
        """P(the rating is above the threshold | item, taste) for every taste."""
        like = self.like(item)
        liked, other = (
            np.mean(np.array(ratings) > threshold) for ratings in (LIKED_RATINGS, OTHER_RATINGS)
        )
        return liked * like + other * (1.0 - like)

    def like_given_history(
        self, history: Sequence[int], likes: Sequence[bool], item: int, threshold: float = 3.0
    ) -> float:
        """P(the user rates `item`, bought next, above the threshold | history in order, with which
        of its items are rated above it)."""
        posterior = self.taste_posterior([*history, item])
        for past, liked in zip(history, likes, strict=True):
            probability = self.rated_above(past, threshold)
            posterior = posterior * (probability if liked else 1.0 - probability)
        return float(posterior @ self.rated_above(item, threshold) / posterior.sum())

    def over_catalogue(self, raw_ids: Sequence[str]) -> Law:
        """The same law with its items in the order of `raw_ids`, a catalogue's."""
        position = {raw_id: index for index, raw_id in enumerate(self.raw_ids)}
        if sorted(raw_ids) != sorted(position):
            raise ValueError("a catalogue without some of the law's items has another law")
        order = np.array([position[raw_id] for raw_id in raw_ids])
        return dataclasses.replace(
            self,
            raw_ids=np.asarray(raw_ids),
            theme=self.theme[order],
            quality=self.quality[order],
            popularity=self.popularity[order],
            sequel=np.argsort(order)[self.sequel[order]],
        )

    def to_bytes(self) -> bytes:
        """The law as an .npz file's content."""
        buffer = io.BytesIO()
        np.savez(buffer, **dataclasses.asdict(self))
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Law:
        """Reads what `to_bytes` gave; a ValueError of one line where it is no law."""
        arrays = read_arrays(content)
        names = {field.name for field in dataclasses.fields(cls)}
        if arrays.keys() != names:
            raise ValueError(f"it has {', '.join(sorted(arrays))[:60]} and not {', '.join(names)}")
        fields: dict[str, Any] = dict(arrays)
        for name in _NUMBERS:
            fields[name] = _number(name, arrays[name])
        _check_arrays(fields)
        _check_mixture(fields)
        return cls(**fields)


_NUMBERS = ("taste_weight", "sequel_weight", "popularity_weight", "taste_effect")
_MOST_LOGITS = 300.0
"""Of a quality or of a taste's effect: the exponential of their sum is a finite float."""


def _number(name: str, array: np.ndarray) -> float:
    if array.shape != () or array.dtype.kind not in "iuf":
        raise ValueError(f"{name} is no number but {array.dtype}, {list(array.shape)[:4]}")
    return float(array)


def _check_arrays(fields: dict[str, Any]) -> None:
    """Refuses arrays that are not as `Law` says."""
    size = fields["raw_ids"].size
    for name, kinds in (
        ("raw_ids", "U"), ("theme", "iu"), ("quality", "f"), ("popularity", "f"), ("sequel", "iu"),
    ):  # fmt: skip
        array = fields[name]
        if array.shape != (size,) or not size or array.dtype.kind not in kinds:
            raise ValueError(f"{name} is {array.dtype}, {list(array.shape)[:4]}, for {size} items")
    if len(np.unique(fields["raw_ids"])) != size:
        raise ValueError("an item stands in raw_ids twice")
    themes = np.unique(fields["theme"])
    if themes[0] != 0 or themes[-1] != len(themes) - 1:
        raise ValueError(f"theme has {len(themes)} values from {themes[0]} to {themes[-1]}")
    _check_range("quality", fields["quality"], -_MOST_LOGITS, _MOST_LOGITS)
    _check_range("popularity", fields["popularity"], np.finfo(np.float64).tiny, 1)
    _check_range("sequel", fields["sequel"], 0, size - 1)
    if not np.isclose(total := fields["popularity"].sum(), 1):
        raise ValueError(f"popularity sums to {total:g}")


def _check_mixture(fields: dict[str, Any]) -> None:
    """Refuses weights that do not make every item possible after every history."""
    weights = {name: fields[name] for name in _NUMBERS[:3]}
    for name, weight in weights.items():
        _check_range(name, weight, 1e-12 if name == "popularity_weight" else 0, 1)
    if not np.isclose(total := sum(weights.values()), 1):
        raise ValueError(f"the weights sum to {total:g}")
    _check_range("taste_effect", fields["taste_effect"], -_MOST_LOGITS, _MOST_LOGITS)


def _check_range(name: str, values: Any, least: float, most: float) -> None:
    """NaN is in no range."""
    values = np.atleast_1d(values)
    if len(others := values[~((values >= least) & (values <= most))]):
        raise ValueError(f"{name} is {others[0]:g}, not from {least:g} to {most:g}")
