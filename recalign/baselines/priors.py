"""Systems that score items by a history alone: a model's probabilities may be joined with them.

`PRIORS` has them by name. One's own: `priors.register("mine", make)` in MIXTURE_OR_TASK_MODULE.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

from recalign.baselines.drivers.exchange import Parts
from recalign.baselines.item_to_item import RULES, Rule, tuned
from recalign.data.field_checks import number, whole
from recalign.data.prepared import PreparedDataset
from recalign.errors import UserError, shown


class Prior(Protocol):
    """Scores all items for histories."""

    def scores(self, histories: Sequence[Int[np.ndarray, "*"]]) -> sp.csr_array:
        """float [B, N] of B histories of catalogue indices, the oldest first; none below 0, and
        what is left out is 0."""


Make = Callable[[PreparedDataset, Mapping[str, Any] | None], tuple[Prior, Mapping[str, Any]]]
"""(dataset, settings) -> a prior and its settings. Without settings it finds them on validation;
with those that it returned once, the same prior comes of the same dataset."""


@dataclasses.dataclass(frozen=True)
class Popularity:
    """The same scores for everybody: how often each item was bought in the training parts."""

    counts: Float[np.ndarray, "N"]

    def scores(self, histories: Sequence[np.ndarray]) -> sp.csr_array:
        return sp.csr_array(np.tile(self.counts, (len(histories), 1)))


def _popularity(
    dataset: PreparedDataset, settings: Mapping[str, Any] | None
) -> tuple[Prior, Mapping[str, Any]]:
    del settings
    return Popularity(dataset.catalogue.train_counts.astype(np.float64)), {}


def _linked(
    rule: Rule, dataset: PreparedDataset, settings: Mapping[str, Any] | None
) -> tuple[Prior, Mapping[str, Any]]:
    sequences, num_items = dataset.sequences("train"), len(dataset.catalogue)
    train = Parts(sequences.items, sequences.row_splits)
    if settings is not None:
        _check(rule, settings)
        return rule.fit(train, num_items, settings), settings
    validation = dataset.sequences("validation")
    last = validation.items[validation.row_splits[1:] - 1]
    found = tuned(rule, train, validation.rows, last, num_items)
    return found.model, found.settings


PRIORS: dict[str, Make] = {
    "popularity": _popularity,
    **{name: functools.partial(_linked, rule) for name, rule in RULES.items()},
}


def register(name: str, make: Make) -> None:
    """Adds a prior, or replaces one."""
    PRIORS[name] = make


def prior_of(
    name: str, dataset: PreparedDataset, settings: Mapping[str, Any] | None = None
) -> tuple[Prior, Mapping[str, Any]]:
    """A prior of a dataset, and its settings: those of an earlier call, or found on validation.

    An unknown name is refused, and settings that no call returned.
    """
    check_name(name)
    return PRIORS[name](dataset, settings)


def check_settings(name: str, settings: Mapping[str, Any]) -> None:
    """Raises a UserError where `prior_of` would, once the name is known; one's own prior knows its
    settings by itself."""
    make = PRIORS.get(name)
    if isinstance(make, functools.partial) and make.func is _linked:
        _check(make.args[0], settings)


def _check(rule: Rule, settings: Mapping[str, Any]) -> None:
    """Refuses settings that `tuned` never finds."""
    for name, tried in rule.choices.items():
        values = (*tried, rule.start[name])
        least, most = min(values), max(values)
        is_whole = all(isinstance(value, int) for value in values)
        is_right = whole(int(least), int(most)) if is_whole else number(least, most)
        if not is_right(settings.get(name)):
            raise UserError(
                f"a prior's setting {name} is {shown(settings.get(name))}: "
                f"{'a whole number' if is_whole else 'a number'} from {least:g} to {most:g}"
            )


def check_name(name: str) -> None:
    """Raises a UserError unless `PRIORS` has a prior of that name."""
    if name not in PRIORS:
        raise UserError(f"FUSION_PRIOR = {name!r}: known are {', '.join(PRIORS)}, and None")
