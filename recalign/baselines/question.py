"""A prepared dataset's split as a question to a system."""

import collections
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from recalign.baselines.drivers.exchange import Parts, Question
from recalign.baselines.outcomes import Example, column
from recalign.baselines.systems import System
from recalign.data.prepared import Catalogue, PreparedDataset, UserSequences
from recalign.preprocessors.surroundings import task_settings

_MOST_FEATURES = 1000
"""S3-Rec's authors had 1,027 attributes on Toys; a few models hold a matrix of users' windows
times features."""


def question_of(
    dataset: PreparedDataset,
    system: System,
    examples: Mapping[str, Sequence[Example]],
    *,
    seed: int,
    epochs: int | None,
    leave_out_seen: bool,
) -> Question:
    """What a system learns from and is asked; for the other arguments see `measure.measure`.

    `examples`: of the test split by kind of task; a system of items is asked those of "retrieval"
    and "ranking", one of ratings those of "rating".
    """
    train, test = dataset.sequences("train"), dataset.sequences("test")
    validation = dataset.sequences("validation")
    valid_last = validation.row_splits[1:] - 1
    settings = task_settings()
    rates = "rating" in system.kinds
    train_likes = valid_likes = np.zeros(0, np.int8)
    if rates:
        assert train.ratings is not None and validation.ratings is not None
        threshold = settings.threshold(dataset)
        train_likes = (train.ratings > threshold).astype(np.int8)
        valid_likes = (validation.ratings[valid_last] > threshold).astype(np.int8)
    asked = examples["rating" if rates else "retrieval"]
    pools = [] if rates else examples["ranking"]
    no_pools = np.zeros((0, settings.candidate_pool), np.int32)
    return Question(
        model=system.model,
        settings=dict(system.settings),
        seed=seed,
        epochs=system.epochs if epochs is None else min(epochs, system.epochs or epochs),
        history_length=settings.history_length,
        leave_out_seen=leave_out_seen,
        num_items=len(dataset.catalogue),
        train=Parts(train.items, train.row_splits),
        seen=_seen(test, len(train)),
        valid_users=validation.rows,
        valid_items=validation.items[valid_last],
        test_users=column(asked, "row"),
        test_items=column(asked, "target"),
        pool_users=column(pools, "row"),
        pools=np.stack([pool["candidates"] for pool in pools]) if pools else no_pools,
        features=item_features(dataset.catalogue),
        train_likes=train_likes,
        valid_likes=valid_likes,
    )


def _seen(test: UserSequences, users: int) -> Parts:
    """Each user's items before the test item; none of one whom a split by time does not ask."""
    last = test.row_splits[1:] - 1
    lengths = np.zeros(users, np.int64)
    lengths[test.rows] = np.diff(test.row_splits) - 1
    splits = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Parts(np.delete(test.items, last), splits)


def item_features(catalogue: Catalogue) -> Parts:
    """The features of every item: its brand and categories or, where no item has any, the words of
    its title. Those of the fewest items are left out beyond 1,000."""
    brands, categories = (catalogue.table[name].to_pylist() for name in ("brand", "categories"))
    texts = [
        {*of_item, *filter(None, [brand])}
        for brand, of_item in zip(brands, categories, strict=True)
    ]
    if not any(texts):
        texts = [set(title.lower().split()) for title in catalogue.titles]
    counts = collections.Counter(itertools.chain.from_iterable(map(sorted, texts)))
    numbers = {text: n for n, (text, _) in enumerate(counts.most_common(_MOST_FEATURES))}
    found = [sorted(numbers[text] for text in of_item if text in numbers) for of_item in texts]
    splits = np.cumsum([0, *map(len, found)]).astype(np.int64)
    return Parts(np.array(list(itertools.chain.from_iterable(found)), np.int32), splits)
