"""The tasks of every dataset, a block each: wording, preprocessors in order, metrics.

`retrieval` of the dataset `toys` is the SeqIO task `retrieval_toys`. A task of one's own is one
more block: `tasks.register_task(tasks.task_of(kind, dataset, **block))`; WORKSPACE.md, "How to add
a task", walks through one.
"""

from collections.abc import Mapping
from typing import Any

from recalign import metrics
from recalign.preprocessors.contents import item_contents
from recalign.preprocessors.families import Family
from recalign.preprocessors.interactions import each_interaction, explanations, reviews, users_items
from recalign.preprocessors.masks import corrupt_spans, mask_items
from recalign.preprocessors.negatives import negatives
from recalign.preprocessors.pools import shuffled_pool, two_choices
from recalign.preprocessors.questions import draw_template, yes_or_no
from recalign.preprocessors.ratings import answered, label, likes, stars
from recalign.preprocessors.rendering import drop_old_history, keep_features, render
from recalign.preprocessors.windows import item_windows, next_item_windows, sub_sequences
from recalign.prompts import PROMPTS

_RETRIEVAL = {"metrics": [metrics.retrieval_metric], "evaluated_as": "retrieval"}
_RANKING = {"metrics": [metrics.ranking_metric], "evaluated_as": "ranking"}
_RATING = {"metrics": [metrics.Rating], "evaluated_as": "rating"}

_P5_OFFERS = [draw_template(), negatives(), shuffled_pool(), yes_or_no(other="item")]
_P5_NEXT_ITEM = [next_item_windows(), *_P5_OFFERS, drop_old_history(), render()]
_P5_STARS = [stars(), draw_template(), yes_or_no(other="stars"), render()]

TASKS: Mapping[str, Mapping[str, Any]] = {
    # The paper's recommendation tasks (section 3.2).
    "retrieval": {
        "prompt": PROMPTS["retrieval"],
        "preprocessors": [
            next_item_windows(),
            drop_old_history(),
            render(),
            keep_features("target"),
        ],
        **_RETRIEVAL,
    },
    "ranking": {
        "prompt": PROMPTS["ranking"],
        "preprocessors": [
            next_item_windows(),
            negatives(),
            shuffled_pool(),
            drop_old_history(),
            render(),
            keep_features("target", "candidates"),
        ],
        **_RANKING,
    },
    "rating": {
        "prompt": PROMPTS["rating"],
        "preprocessors": [
            next_item_windows(),
            likes(),
            label(),
            drop_old_history(),
            render(),
            keep_features("target", "label"),
        ],
        **_RATING,
    },
    # Its auxiliary tasks (section 3.1).
    "mim": {
        "prompt": PROMPTS["mim"],
        "preprocessors": [
            item_windows(),
            drop_old_history(),
            mask_items(),
            render(),
            keep_features(),
        ],
    },
    "mlm": {
        "prompt": PROMPTS["mlm"],
        "preprocessors": [
            sub_sequences(),
            drop_old_history(),
            render(),
            corrupt_spans(),
            keep_features(),
        ],
    },
    "bpr": {
        "prompt": PROMPTS["bpr"],
        "preprocessors": [
            next_item_windows(),
            negatives(count=1),
            two_choices(),
            drop_old_history(),
            render(),
            keep_features("target"),
        ],
    },
    "ie": {"prompt": PROMPTS["ie"], "preprocessors": [item_contents(), render(), keep_features()]},
    # IDs alone: the retrieval of TIGER, meant for a dataset with semantic ones, and ratings.
    "tiger": {
        "prompt": PROMPTS["tiger"],
        "preprocessors": [
            next_item_windows(every_prefix=True),
            drop_old_history(),
            render(),
            keep_features("target"),
        ],
        **_RETRIEVAL,
    },
    "tiger_rating": {
        "prompt": PROMPTS["tiger_rating"],
        "preprocessors": [
            next_item_windows(every_prefix=True),
            answered(),
            label(),
            drop_old_history(),
            render(),
            keep_features("target", "label"),
        ],
        **_RATING,
    },
    # P5's families (Appendix A). Their validation and test samples are those of a template that the
    # paper evaluates; p5_2_7 has those of 2-7, and nothing to train on.
    "p5_sequential": {
        "prompt": Family("2", evaluated="2-1"),
        "preprocessors": [*_P5_NEXT_ITEM, keep_features("target", "template")],
        **_RETRIEVAL,
    },
    "p5_direct": {
        "prompt": Family("5", evaluated="5-5"),
        "preprocessors": [
            users_items(),
            *_P5_OFFERS,
            render(),
            keep_features("target", "template", held_out=["candidates"]),
        ],
        **_RANKING,
    },
    "p5_rating": {
        "prompt": Family("1", evaluated="1-4"),
        "preprocessors": [
            each_interaction(),
            label(),
            *_P5_STARS,
            keep_features("target", "template", "label"),
        ],
        "metrics": [metrics.LikeDislike],
        "evaluated_as": "rating",
    },
    "p5_explanation": {
        "prompt": Family("3"),
        "preprocessors": [explanations(), *_P5_STARS, keep_features("target", "template")],
    },
    "p5_review": {
        "prompt": Family("4"),
        "preprocessors": [reviews(), *_P5_STARS, keep_features("target", "template")],
    },
    "p5_2_7": {
        "prompt": Family("2", evaluated="2-7"),
        "preprocessors": [*_P5_NEXT_ITEM, keep_features("target", "template", "candidates")],
        **_RANKING,
        "splits": ("validation", "test"),
    },
}
