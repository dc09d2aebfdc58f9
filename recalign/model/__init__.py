"""Networks, beam search over any of them, and exact scores."""

from recalign.model.t5.config import T5Config

# Those whose settings a run's config.gin may hold, which is read as data.
NETWORKS = (T5Config,)
