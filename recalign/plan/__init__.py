"""Plans an experiment for a TPU slice that is not there, with XLA's own compiler for TPUs."""

from recalign.plan.planning import Plan, plan
from recalign.plan.text import as_json, as_text

__all__ = ["Plan", "as_json", "as_text", "plan"]
