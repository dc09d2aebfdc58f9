"""What a preprocessor is: a named function from batches of examples to batches of examples."""

import dataclasses
import functools
import inspect
import types
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
    """What preprocessors are bound to."""

    task: str  # its name, for messages
    dataset: PreparedDataset
    split: str  # "train", "validation" or "test"
    settings: TaskSettings  # windows, pools, masks, as gin has them now
    key: int = 0  # of all that is drawn
    # The most tokens of `inputs` and `targets` to leave, None for any number; and what the user
    # gave, for messages.
    lengths: Lengths = dataclasses.field(default_factory=lambda: dict.fromkeys(TOKENS))
    asked: Lengths = dataclasses.field(default_factory=lambda: dict.fromkeys(TOKENS))
    prompt: Layout | None = None  # see `layout`

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

    A task's first one is bound to an `Epoch`. One that can make none of its fields of a dataset is
    left out, and prompts that show them are too.
    """

    name: str  # of the public function that made it, and its arguments
    bind: Callable[[Context], BatchFunction]
    makes: Mapping[str, FieldType]  # the fields that it adds or changes
    needs: Collection[str]  # the fields that it reads
    missing: Callable[[PreparedDataset], Mapping[str, str]]  # what it cannot make, and why
    room: Callable[[Context], Lengths]  # the tokens that those before it may leave

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
    makes: Mapping[str, FieldType]
    | Callable[..., Mapping[str, FieldType]] = types.MappingProxyType({}),
    needs: Collection[str] | Callable[..., Collection[str]] = (),
    missing: Callable[[PreparedDataset], Mapping[str, str]] = lambda dataset: {},
    room: Callable[[Context], Lengths] = lambda context: context.lengths,
) -> Callable[[Callable[..., BatchFunction]], Callable[..., Preprocessor]]:
    """Makes a preprocessor of a function `(context, **arguments) -> (batch -> batch)`.

        @preprocessor(makes={"parity": words("even", "odd")}, needs=["target"])
        def parity(context):
            return lambda batch: batch | {"parity": batch["target"] % 2}

    `parity()` then stands in a task's list, and `{parity}` in its words. The arguments are as
    `Preprocessor`'s; `makes` and `needs` may also be functions of the arguments of the call.
    """

    def decorate(function: Callable[..., BatchFunction]) -> Callable[..., Preprocessor]:
        _, *parameters = inspect.signature(function).parameters.values()
        if not any(p.default is p.empty and p.kind is not p.VAR_POSITIONAL for p in parameters):
            for field in makes() if callable(makes) else makes:
                MAKERS.setdefault(field, []).append(f"{function.__name__}()")

        @functools.wraps(function)
        def make(*values: Any, **named: Any) -> Preprocessor:
            shown = [*map(repr, values), *(f"{name}={value!r}" for name, value in named.items())]
            return Preprocessor(
                name=f"{function.__name__}({', '.join(shown)})",
                bind=lambda context: function(context, *values, **named),
                makes=makes(*values, **named) if callable(makes) else makes,
                needs=needs(*values, **named) if callable(needs) else needs,
                missing=missing,
                room=room,
            )

        make.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return make

    return decorate
