"""Negatives drawn another way: all items alike. `own_negatives.gin` chooses them."""

import numpy as np

from recalign.preprocessors.negatives import NegativeSampler


def uniform_negatives(context, count):
    """Draws among all items that the user never had."""
    alike = np.ones(len(context.dataset.catalogue.ids), np.int64)
    sampler = NegativeSampler(context.dataset, context.split, count, weights=alike)
    return lambda batch: sampler(batch["record"], context.draws(batch))
