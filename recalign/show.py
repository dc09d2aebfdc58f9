"""Samples as a person reads them, decoded from the token ids that the model gets."""

import textwrap
from collections.abc import Iterator, Mapping

import seqio

import tasks
from recalign.errors import UserError
from recalign.preprocessors.surroundings import data_directory

_WIDTH = 100


def show_task(
    name: str,
    split: str = "train",
    n: int = 3,
    *,
    sequence_length: Mapping[str, int] | None = None,
    seed: int = 0,
) -> Iterator[str]:
    """The first samples of a shuffled epoch as blocks of text, with their numbers of tokens.

    A mixture's are `n` of each of its tasks. `sequence_length` is the most tokens of `inputs` and
    `targets`; None shows whole prompts. `seed` decides which samples are shown, and what is drawn.
    """
    if n < 1:
        raise UserError(f"n = {n}: at least 1 sample is needed")
    tasks.ensure_registered(name, data_directory())
    provider = seqio.get_mixture_or_task(name)
    shown = seqio.get_subtasks(provider)
    if provider not in shown:
        shown = [task for task in shown if split in task.splits]
    if not shown:
        raise UserError(f"{name} has no split {split!r}; it has {', '.join(provider.splits)}")
    for task in shown:
        yield from _samples(task, split, n, sequence_length, seed)


def _samples(
    task: seqio.Task, split: str, n: int, sequence_length: Mapping[str, int] | None, seed: int
) -> Iterator[str]:
    vocabularies = {name: f.vocabulary for name, f in task.output_features.items()}
    dataset = task.get_dataset(sequence_length, split, shuffle=True, seed=seed, num_epochs=1)
    for number, example in enumerate(dataset.take(n).as_numpy_iterator(), 1):
        lines = [
            f"{task.name}, {split}, sample {number}: {len(example['inputs'])} tokens of inputs, "
            f"{len(example['targets'])} of targets"
        ]
        for feature, label in (("inputs", "Input:  "), ("targets", "Output: ")):
            text = vocabularies[feature].decode(example[feature].tolist())
            lines.append(
                textwrap.fill(
                    text,
                    _WIDTH,
                    initial_indent=f"  {label}",
                    subsequent_indent=" " * 10,
                    break_long_words=False,
                    break_on_hyphens=False,
                )
            )
        yield "\n".join(lines) + "\n"
