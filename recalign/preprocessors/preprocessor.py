"""What a preprocessor is: a named function from batches of examples to batches of examples."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

import tensorflow as tf

from recalign.data.prepared import PreparedDataset
from recalign.preprocessors.draws import Draws
from recalign.preprocessors.fields import FieldType
from recalign.preprocessors.layout import Layout
from recalign.preprocessors.settings import TaskSettings

Batch = dict[str, tf.Tensor | tf.RaggedTensor]
"""Fields of a batch of examples, each with a leading axis of B. It begins as `sample` int64 [B],
the number in an epoch, and `position` int64 [B], which decides what is drawn. Items are int32
indices into the catalogue, negative where there is nothing."""

TOKENS = ("inputs", "targets")
"""The features that hold tokens."""

MAKERS: dict[str, list[str]] = {}
"""The public functions whose preprocessors make a field, for messages."""

BatchFunction = Callable[[Batch], Batch]
Lengths = Mapping[str, int | None]
_ANY: Lengths = dict.fromkeys(TOKENS)


@dataclasses.dataclass(frozen=True)
class Epoch:
    """A task's first function of batches, from numbers of samples to their fields, and how many
    samples an epoch has."""

    size: int
    fields_of: BatchFunction

    def __call__(self, batch: Batch) -> Batch:
        return batch | self.fields_of(batch)


@dataclasses.dataclass(frozen=True)
class Context:
    """What preprocessors are bound to.

    Attributes:
        task: its name, for messages.
        dataset: the prepared dataset.
        split: "train", "validation" or "test".
        settings: windows, pools, masks, as gin has them now.
        key: of all that is drawn.
        lengths: the most tokens of `inputs` and `targets` to leave; None for any number.
        asked: the lengths that the user gave, for messages.
        prompt: see `layout`.
    """

    task: str
    dataset: PreparedDataset
    split: str
    settings: TaskSettings
    key: int = 0
    lengths: Lengths = dataclasses.field(default_factory=lambda: _ANY)
    asked: Lengths = dataclasses.field(default_factory=lambda: _ANY)
    prompt: Layout | None = None

    @property
    def layout(self) -> Layout:
        """The words and items of the task's prompt as tokens."""
        assert self.prompt is not None, "the first preprocessor is asked for its length alone"
        return self.prompt

    def draws(self, batch: Batch) -> Draws:
        """Random numbers for the examples of a batch, a function of key and position alone."""
        return Draws(self.key, batch["position"])


@dataclasses.dataclass(frozen=True, eq=False)
class Preprocessor:
    """A step from users' sequences to examples.

    Attributes:
        name: of the public function that made it, and its arguments.
        bind: gives its function of batches, which is an `Epoch` of a task's first one.
        makes: the fields that it adds or changes.
        needs: the fields that it reads.
        missing: the fields that it cannot make of a dataset, with the reason. One that can make
            none of its fields is left out, and prompts that show them are too.
        room: how many tokens the preprocessors before it may leave, given how many it may.
    """

    name: str
    bind: Callable[[Context], BatchFunction]
    makes: Mapping[str, FieldType]
    needs: Collection[str]
    missing: Callable[[PreparedDataset], Mapping[str, str]]
    room: Callable[[Context], Lengths]

    @property
    def __name__(self) -> str:
        return self.name.partition("(")[0]

    def __repr__(self) -> str:
        return self.name

    def __call__(self, dataset: tf.data.Dataset, context: Context) -> tf.data.Dataset:
        """Maps a dataset of batches."""
        return dataset.map(self.bind(context), num_parallel_calls=tf.data.AUTOTUNE)


def preprocessor(
    *,
    makes: Mapping[str, FieldType] | Callable[..., Mapping[str, FieldType]] | None = None,
    needs: Collection[str] | Callable[..., Collection[str]] = (),
    missing: Callable[[PreparedDataset], Mapping[str, str]] | None = None,
    room: Callable[[Context], Lengths] | None = None,
) -> Callable[[Callable[..., BatchFunction]], Callable[..., Preprocessor]]:
    """Makes a preprocessor of a function `(context, **arguments) -> (batch -> batch)`.

        @preprocessor(makes={"parity": words("even", "odd")}, needs=["target"])
        def parity(context):
            return lambda batch: batch | {"parity": batch["target"] % 2}

    `parity()` then stands in a task's list, and `{parity}` in its words. The arguments are as
    `Preprocessor`'s; `makes` and `needs` may also be functions of the arguments of the call.
    """

    def decorate(function: Callable[..., BatchFunction]) -> Callable[..., Preprocessor]:
        optional = list(inspect.signature(function).parameters.values())[1:]
        if not any(p.default is p.empty and p.kind is not p.VAR_POSITIONAL for p in optional):
            for field in (makes() if callable(makes) else makes) or ():
                MAKERS.setdefault(field, []).append(f"{function.__name__}()")

        @functools.wraps(function)
        def make(*values: Any, **named: Any) -> Preprocessor:
            shown = [*map(repr, values), *(f"{name}={value!r}" for name, value in named.items())]
            return Preprocessor(
                name=f"{function.__name__}({', '.join(shown)})",
                bind=lambda context: function(context, *values, **named),
                makes=(makes(*values, **named) if callable(makes) else makes) or {},
                needs=needs(*values, **named) if callable(needs) else needs,
                missing=missing or (lambda dataset: {}),
                room=room or (lambda context: context.lengths),
            )

        parameters = list(inspect.signature(function).parameters.values())
        make.__signature__ = inspect.Signature(parameters[1:])  # type: ignore[attr-defined]
        return make

    return decorate
