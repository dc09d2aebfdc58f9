"""The steps that the device is at work on, and what is said of them when they are done."""

import collections
import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int

from recalign.data.atomic import whole_file
from recalign.errors import UserError
from recalign.preprocessors.stream import TOKENS, Stream
from recalign.trainer import partitioning
from recalign.trainer.experiment import Experiment
from recalign.trainer.optimization import schedule_of
from recalign.trainer.progress import Pace, progress_line
from recalign.trainer.state import LossParts, StepOutcome
from recalign.trainer.writers import MetricsWriter, say

# Stop when the loss exceeds this multiple of log(VOCAB_SIZE), the loss of a uniform guess.
_EXPLODED = 10


class Dispatched(NamedTuple):
    """A step that the device is at work on, and what it was given."""

    step: int
    outcome: StepOutcome
    batch: Mapping[str, np.ndarray]
    examples: np.ndarray | None  # int64 [tasks], of all processes, where rows are packed


@dataclasses.dataclass
class StepsInFlight:
    """Waits for the oldest steps, refuses a bad loss, and writes the lines of metrics."""

    experiment: Experiment
    stream: Stream
    mesh: Mesh
    writer: MetricsWriter
    first_step: int  # where fine-tuning began
    logged_at: int  # the step of the last line
    # int64, until that line; where rows are packed, until the newest step done.
    examples_seen: Int[np.ndarray, " tasks"]
    pace: Pace
    _steps: collections.deque[Dispatched] = dataclasses.field(default_factory=collections.deque)
    _newest: Dispatched | None = None

    @property
    def packed_examples(self) -> dict[str, int] | None:
        """Trained on until the newest step done, by task; None where a row is an example."""
        return self._examples_of_task() if self.experiment.pack else None

    def add(self, step: Dispatched) -> None:
        self._steps.append(step)

    def wait(self, in_flight: int = 0) -> None:
        """For all but so many of the newest steps; the batch of a bad loss is written down."""
        highest_loss = _EXPLODED * math.log(self.experiment.model.vocab_size)
        while len(self._steps) > in_flight:
            self._newest = done = self._steps.popleft()
            parts = jax.device_get(done.outcome.parts)
            if not parts.loss <= highest_loss * parts.tokens:  # NaN is not below anything either
                raise self._bad_step(done, f"the loss is {parts.loss / parts.tokens:.5g} a token")
            # Other processes' rows are of the same kinds: this one's tokens stand for them.
            processes = self.experiment.batch_size // len(done.batch[TOKENS[0]])
            tokens = sum(int(np.count_nonzero(done.batch[name])) for name in TOKENS)
            self.pace.step_ended(processes * tokens)
            if done.examples is not None:
                self.examples_seen = self.examples_seen + done.examples
            if (
                done.step % self.experiment.log_period == 0
                or done.step == self.experiment.train_steps
            ):
                self._write(done)

    def check_update(self, params: Any) -> None:
        """Refuses parameters that are not finite: the loss is of those before the newest step."""
        if self._newest is not None and not _all_finite(params):
            raise self._bad_step(self._newest, "its update is not finite")

    def _write(self, done: Dispatched) -> None:
        if done.examples is None:
            read = (at - self.first_step for at in (self.logged_at, done.step))
            self.examples_seen = self.examples_seen + self.stream.counts(
                *(steps * self.experiment.batch_size for steps in read)
            )
        schedule = schedule_of(self.experiment, self.first_step)
        rates, means = self.pace.rates, _means(done.outcome.window)
        line = {
            **means,
            "learning_rate": float(schedule(np.int32(done.step - 1))),
            "examples": self._examples_of_task(),
        }
        if rates is not None:
            line |= {"steps_per_second": rates.steps, "tokens_per_second": rates.tokens}
        self.writer.write(done.step, "train", line)
        say(progress_line(done.step, self.experiment.train_steps, means["loss"], rates))
        self.logged_at = done.step

    def _examples_of_task(self) -> dict[str, int]:
        names = [task.name for task in self.stream.tasks]
        return dict(zip(names, self.examples_seen.tolist(), strict=True))

    def _bad_step(self, done: Dispatched, found: str) -> UserError:
        """The error to raise; the whole batch, of all processes, is written down."""
        batch = partitioning.to_host(partitioning.shard_local(self.mesh, done.batch))
        names = [task.name for task in self.stream.tasks]
        path = self.experiment.directory / f"bad_batch_{done.step}.npz"
        if jax.process_index() == 0:
            with whole_file(path) as file:
                np.savez(file, **batch, tasks=names)
        tasks = ", ".join(names[number] for number in np.unique(batch["task"]) if number >= 0)
        return UserError(
            f"step {done.step}: {found}; its batch (of {tasks}) is written to {path}, and the "
            "newest checkpoint is of a step before it: a lower LEARNING_RATE, or other data?"
        )


def _means(window: LossParts) -> dict[str, float]:
    """Means over the target tokens since the last line of metrics."""
    sums = jax.device_get(window)
    return {
        "loss": float(sums.loss / sums.tokens),
        "z_loss": float(sums.z_loss / sums.tokens),
        "accuracy": float(sums.correct / sums.tokens),
    }


@jax.jit
def _all_finite(params: Any) -> jax.Array:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]).all()
