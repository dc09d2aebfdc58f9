"""How often a mixture draws from each task: gin's say, asked when the mixture is used."""

from collections.abc import Mapping

import gin
import seqio

from recalign.errors import UserError
from recalign.preprocessors.surroundings import entered


@gin.configurable(module="tasks")
def mixture_rates(rates: Mapping[str, float] | None = None) -> Mapping[str, float]:
    """Relative rates by task ("mim_toys") or kind of task ("mim"); others keep the mixture's own.

    In gin `mixture_rates.rates = {"retrieval": 2.0}` is for all mixtures, and
    `reat_toys/mixture_rates.rates = {"mim": 0.5}` for that one.
    """
    return rates or {}


def of_gin(mixture: str) -> Mapping[str, float]:
    with gin.config_scope(mixture):
        return mixture_rates()


def rate(mixture: str, task: seqio.Task, *, defaults: Mapping[str, float]) -> float:
    """The task's rate in the mixture: that of the experiment that this thread is in, or gin's where
    it is in none; else that of `defaults`, else 1."""
    surroundings = entered()
    rates = of_gin(mixture) if surroundings is None else surroundings.rates
    tasks = seqio.TaskRegistry.names()
    kinds = {getattr(seqio.TaskRegistry.get(name), "kind", "") for name in tasks} - {""}
    for name, value in rates.items():
        if name not in kinds and name not in tasks:
            raise UserError(
                f"mixture_rates.rates names {name!r}, which is neither a task nor one of the kinds "
                f"{', '.join(sorted(kinds))}"
            )
        if not isinstance(value, int | float) or value < 0:
            raise UserError(f"mixture_rates.rates[{name!r}] = {value!r}: a number >= 0 is needed")
    names = (task.name, getattr(task, "kind", ""))
    found = (given[name] for given in (rates, defaults) for name in names if name in given)
    return float(next(found, 1.0))
