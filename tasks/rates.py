"""How often a mixture draws from each task: gin's say, asked when the mixture is used."""

from collections.abc import Mapping

import gin
import seqio

from recalign.errors import UserError
from recalign.preprocessors.kinds import KINDS


@gin.configurable(module="tasks")
def mixture_rates(rates: Mapping[str, float] | None = None) -> Mapping[str, float]:
    """Relative rates by task ("mim_toys") or kind of task ("mim"); 1 for those not named.

    In gin `mixture_rates.rates = {"retrieval": 2.0}` is for all mixtures, and
    `reat_toys/mixture_rates.rates = {"mim": 0.5}` for that one.
    """
    return rates or {}


def rate(mixture: str, task: seqio.Task) -> float:
    """The task's rate in the mixture."""
    with gin.config_scope(mixture):
        rates = mixture_rates()
    for name, value in rates.items():
        if name not in KINDS and name not in seqio.TaskRegistry.names():
            raise UserError(
                f"mixture_rates.rates names {name!r}, which is neither a task nor one of the kinds "
                f"{', '.join(KINDS)}"
            )
        if not isinstance(value, int | float) or value < 0:
            raise UserError(f"mixture_rates.rates[{name!r}] = {value!r}: a number >= 0 is needed")
    return float(rates.get(task.name, rates.get(getattr(task, "kind", ""), 1.0)))
