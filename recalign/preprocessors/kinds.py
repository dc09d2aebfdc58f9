"""Which samples a kind of task has: `retrieval_toys` is of the kind `retrieval`."""

from collections.abc import Callable, Mapping

from recalign.preprocessors.auxiliary import (
    BayesianPersonalizedRanking,
    ItemContent,
    MaskedItems,
    MaskedLanguage,
)
from recalign.preprocessors.recommendation import Ranking, Rating, Retrieval
from recalign.preprocessors.samples import Request, Samples

KINDS: Mapping[str, Callable[[Request], Samples]] = {
    cls.kind: cls
    for cls in (
        Retrieval,
        Ranking,
        Rating,
        MaskedItems,
        MaskedLanguage,
        BayesianPersonalizedRanking,
        ItemContent,
    )
}
