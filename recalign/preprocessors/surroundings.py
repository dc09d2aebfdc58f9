"""What tasks take from outside, as an object: the data folder and the settings of one experiment.

SeqIO's tasks stand in a registry of the process and are used long after they were registered. Two
experiments in one process, or in two of its threads, each enter their own `Surroundings`; where
nobody entered any (T5X), SeqIO's override of the data folder and gin's bindings count.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator, Mapping

from recalign import internals
from recalign.data import DEFAULT_DATA_DIR
from recalign.preprocessors.settings import TaskSettings


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """One experiment's data folder, local or gs://, and settings."""

    data_dir: str = DEFAULT_DATA_DIR
    settings: TaskSettings = dataclasses.field(default_factory=TaskSettings)
    rates: Mapping[str, float] = dataclasses.field(default_factory=dict)  # by task or kind, else 1
    templates_file: str | None = None  # P5's templates in the user's words; None for ours
    vocabulary_file: str | None = None  # for datasets without one of their own; None for T5's

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Tasks that are used in this thread until the end of the block take these."""
        token = _ENTERED.set(self)
        try:
            yield
        finally:
            _ENTERED.reset(token)


_ENTERED: contextvars.ContextVar[Surroundings | None] = contextvars.ContextVar(
    "surroundings", default=None
)


def entered() -> Surroundings | None:
    """What this thread entered; None where gin and SeqIO's override are asked."""
    return _ENTERED.get()


def data_directory() -> str:
    if (surroundings := entered()) is not None:
        return surroundings.data_dir
    return internals.tfds_data_dir() or DEFAULT_DATA_DIR


def task_settings() -> TaskSettings:
    surroundings = entered()
    return TaskSettings() if surroundings is None else surroundings.settings
