"""Which samples a kind of task has: `retrieval_toys` is of the kind `retrieval`."""

from collections.abc import Mapping

from recalign.preprocessors.auxiliary import (
    BayesianPersonalizedRanking,
    ItemContent,
    MaskedItems,
    MaskedLanguage,
)
from recalign.preprocessors.p5 import samples as p5
from recalign.preprocessors.recommendation import Ranking, Rating, Retrieval, Tiger
from recalign.preprocessors.samples import Samples

KINDS: Mapping[str, type[Samples]] = {
    cls.kind: cls
    for cls in (
        Retrieval,
        Ranking,
        Rating,
        MaskedItems,
        MaskedLanguage,
        BayesianPersonalizedRanking,
        ItemContent,
        Tiger,
        p5.Sequential,
        p5.Direct,
        p5.Rating,
        p5.Explanation,
        p5.Review,
        p5.SequentialRanking,
    )
}
