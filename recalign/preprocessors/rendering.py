"""From a batch's fields to tokens that fit, and to the features of examples."""

from collections.abc import Sequence

import tensorflow as tf

from recalign.data.splits import SPLITS
from recalign.errors import UserError
from recalign.preprocessors.fields import NUMBER
from recalign.preprocessors.preprocessor import TOKENS, Batch, BatchFunction, Context, preprocessor
from recalign.preprocessors.windows import ABSENT


@preprocessor(needs=["history"])
def drop_old_history(context: Context) -> BatchFunction:
    """The oldest items leave the history until the prompt fits; the newest one always stays.

    Where two items fit,

        {"history": [[4, 7, 1]]} -> {"history": [[-1, 7, 1]]}

    Changes `history`, and the fields aligned with it.
    """
    aligned = [name for name, made in context.layout.types.items() if made.in_window]

    def add(batch: Batch) -> Batch:
        keep_BxW = context.layout.inputs.keep("history", batch, context.lengths["inputs"])
        kept = {n: tf.where(keep_BxW, batch[n], ABSENT) for n in aligned if n in batch}
        return batch | kept

    return add


@preprocessor(makes=dict.fromkeys(TOKENS, NUMBER))
def render(context: Context) -> BatchFunction:
    """Puts the task's prompt into tokens, joined from those of its words and items.

    Texts and titles are cut, the longest first, where the prompt would still be too long: see
    `fitting.shorten`. With "{history:ids}" and "{target}", and E for the end of sequence,

        {"history": [[-1, 4]], "target": [7]} ->
        {"inputs": [[*ids("I5"), E]], "targets": [[*ids("I8"), E]]}

    Makes `inputs` and `targets`, int32 [B, (tokens)].
    """
    layout = context.layout
    if layout.vocabulary.eos_id < 0:
        raise UserError(f"{context.task}: the vocabulary has no end of sequence")
    _check_lengths(context)
    shown = [feature for feature in TOKENS if any(getattr(t, feature) for t in layout.templates)]

    def add(batch: Batch) -> Batch:
        return batch | {
            feature: layout.side(feature).tokens(batch, context.lengths[feature])
            for feature in shown
        }

    return add


def _check_lengths(context: Context) -> None:
    for feature in TOKENS:
        side = context.layout.side(feature)
        room, asked = context.lengths[feature], context.asked[feature]
        if room is None or asked is None or side.least <= room:
            continue
        need = side.least + asked - room
        has_pool = "candidates" in side.widths
        pool = f"the longest pool of {context.settings.candidate_pool} candidates, its question and"
        shown = f"{pool} one item of history" if has_pool else "the shortest form of every prompt"
        raise UserError(
            f"{context.task}: {asked} tokens of {feature} are too few: {need} are needed for "
            f"{shown}: set TASK_FEATURE_LENGTHS['{feature}'] to at least {need}"
            + (", or a smaller TaskSettings.candidate_pool" if has_pool else "")
        )


@preprocessor(needs=lambda *names, held_out=(): ["row", "history", *TOKENS, *names, *held_out])
def keep_features(context: Context, *names: str, held_out: Sequence[str] = ()) -> BatchFunction:
    """The features of an example: its tokens, `row`, `split`, `history` and those named.

        {"history": [[-1, 4]], "target": [7], "record": [0], …} ->
        {"history": [[4]], "target": [7], "row": [0], "split": [0], "inputs": …, "targets": …}

    Those of `held_out` are kept in validation and test only.
    """
    number = SPLITS.index(context.split)
    kept = [*TOKENS, *names, *(() if context.split == "train" else held_out)]

    def select(batch: Batch) -> Batch:
        history_BxW = batch["history"]
        return {
            "row": batch["row"],
            "split": tf.fill(tf.shape(batch["row"]), tf.constant(number, tf.int64)),
            "history": tf.ragged.boolean_mask(history_BxW, history_BxW >= 0),
            **{name: batch[name] for name in kept},
        }

    return select
