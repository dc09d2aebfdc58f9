"""Which of a family's prompts shows a sample, and what its questions of yes or no are about."""

import tensorflow as tf

from recalign import prompts
from recalign.preprocessors import fields
from recalign.preprocessors.preprocessor import Batch, BatchFunction, Context, preprocessor
from recalign.preprocessors.ratings import without_ratings


@preprocessor(makes={"drawn_template": fields.NUMBER, "template": fields.NUMBER})
def draw_template(context: Context) -> BatchFunction:
    """One of the family's templates for each position (P5, Appendix A).

    Of the templates 2-1 to 2-13,

        {"position": [0, 1], …} -> {"drawn_template": [6, 0], "template": [207, 201], …}

    Makes `template` int32 [B], P5's number, and `drawn_template` int64 [B], its place among those
    that can be shown.
    """
    numbers = tf.constant([template.number for template in context.layout.templates], tf.int32)

    def add(batch: Batch) -> Batch:
        drawn_B = context.draws(batch).below("template", len(context.layout.templates))
        return batch | {"drawn_template": drawn_B, "template": tf.gather(numbers, drawn_B)}

    return add


def _makes(other: str) -> dict[str, fields.FieldType]:
    makes = {"yes_no": fields.words(*prompts.YES_NO), "asked": fields.items()}
    return makes | ({"asked_stars": fields.STARS} if other == "stars" else {})


@preprocessor(
    makes=_makes, needs=["target", "drawn_template"], missing=without_ratings("asked_stars")
)
def yes_or_no(context: Context, other: str) -> BatchFunction:
    """What a question is about: half of those of yes or no ask about something that is not so.

    With `other="item"`, the answers of the first and of the second being yes and no,

        {"target": [4, 4], "negatives": [[7], [2]]} -> {"asked": [4, 2], "yes_no": [1, 0], …}

    With `other="stars"` they ask about other stars. Templates that are not answered by yes or no
    ask about what is so.

    Makes `yes_no` int32 [B], 1 for yes, `asked` [B] and, with stars, `asked_stars` [B].
    """
    templates = context.layout.templates
    asks_T = [any(field.name == "yes_no" for field in t.fields("targets")) for t in templates]
    count = len(fields.star_values(context.dataset))

    def add(batch: Batch) -> Batch:
        draws = context.draws(batch)
        is_so_B = draws.uniform("yes or no", 1)[:, 0] < 0.5
        is_other_B = tf.gather(asks_T, batch["drawn_template"]) & tf.logical_not(is_so_B)
        batch = batch | {"yes_no": tf.cast(is_so_B, tf.int32), "asked": batch["target"]}
        if other == "item":
            asked_B = tf.where(is_other_B, batch["negatives"][:, 0], batch["target"])
            return batch | {"asked": asked_B}
        if "stars" not in batch:
            return batch
        stars_B = batch["stars"]
        step_B = draws.below("other stars", max(1, count - 1))
        other_B = (stars_B + 1 + tf.cast(step_B, tf.int32)) % count
        return batch | {"asked_stars": tf.where(is_other_B, other_B, stars_B)}

    return add
