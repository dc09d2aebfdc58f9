"""A metric of one's own: the mean reciprocal rank, beside those of retrieval."""

import tasks
from recalign import metrics


class MeanReciprocalRank(metrics.MeanOverExamples):
    name = "mrr"

    @classmethod
    def value(cls, example, target, beams):
        return 1.0 / (1.0 + metrics.rank_in(target, beams))


retrieval = tasks.TASKS["retrieval"]
found = retrieval | {"metrics": [*retrieval["metrics"], MeanReciprocalRank]}
tasks.register_task(tasks.task_of("found", "tiny", **found))
