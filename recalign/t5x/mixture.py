"""What T5X has to be told of a mixture: its vocabulary, and the lengths that its answers need."""

import importlib
from collections.abc import Iterator, Mapping

import seqio

import tasks
from recalign.data.vocabulary import check_vocab_size
from recalign.errors import UserError
from recalign.prompts import YES_NO


def vocabulary(
    mixture_or_task_name: str, module: str | None = None, vocab_size: int | None = None
) -> seqio.Vocabulary:
    """The vocabulary of a mixture's tasks: its dataset's own, or the one that gin names.

    `vocab_size`: rows of the model's embedding, refused where they are too few, for T5X itself
    would read zeros for later tokens; None to take it for large enough.
    """
    found = registered(mixture_or_task_name, module).output_features["targets"].vocabulary
    if vocab_size is not None:
        check_vocab_size(vocab_size, mixture_or_task_name, found.vocab_size)
    return found


def decode_lengths(
    mixture_or_task_name: str,
    task_feature_lengths: Mapping[str, int],
    module: str | None = None,
) -> dict[str, int]:
    """The lengths for decoding a mixture: inputs as in training, targets no longer than an answer.

    Left to itself, T5X measures the examples: prompts would not be fitted to the length they have
    in training, and beams would end at the longest answer of the split at hand.
    """
    provider = registered(mixture_or_task_name, module)
    encode = provider.output_features["targets"].vocabulary.encode
    answers = {answer for task in tasks_with_answers(provider) for answer in task.answers}
    longest = task_feature_lengths["targets"]
    if answers:
        longest = min(longest, max(len(encode(answer)) for answer in answers) + 1)  # with EOS
    return {**task_feature_lengths, "targets": longest}


def tasks_with_answers(provider: seqio.Task | seqio.Mixture) -> Iterator[seqio.Task]:
    """The tasks of a mixture whose metrics read answers out of a fixed set."""
    for task in seqio.get_subtasks(provider):
        if getattr(task, "evaluated_as", ""):
            yield task


def answers_by_number(provider: seqio.Task | seqio.Mixture) -> tuple[str, ...]:
    """All answers, each at its number: the two words of rating tasks, then the catalogue's IDs.

    A mixture without rating tasks has "no" and "yes" there, which no example of it allows.
    """
    evaluated = list(tasks_with_answers(provider))
    catalogues = {task.dataset_name: task.source.open().catalogue for task in evaluated}
    if len(catalogues) != 1:
        raise UserError(
            f"constrained decoding needs tasks of one catalogue; {provider.name} has "
            f"{', '.join(sorted(catalogues)) or 'none with answers'}"
        )
    pairs = {task.answers for task in evaluated if task.evaluated_as == "rating"}
    if len(pairs) > 1:
        raise UserError(
            f"constrained decoding needs one pair of answers to rating tasks; {provider.name} has "
            f"{', '.join(sorted('/'.join(pair) for pair in pairs))}"
        )
    (pair,) = pairs or {YES_NO}
    (catalogue,) = catalogues.values()
    return (*pair, *catalogue.ids)


def registered(name: str, module: str | None = None) -> seqio.Task | seqio.Mixture:
    """The task or mixture of this name, registered if need be; `module` is imported first."""
    if module:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise UserError(f"MIXTURE_OR_TASK_MODULE = {module!r}: {error}") from error
    tasks.ensure_registered(name)
    return seqio.get_mixture_or_task(name)
