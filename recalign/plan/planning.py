"""A plan: the experiment's layout, or the best that a search finds, on a slice."""

import dataclasses
import math
from collections.abc import Callable

from recalign.errors import UserError
from recalign.plan.chips import Slice
from recalign.plan.compilation import (
    Compiled,
    available_bytes,
    compile_program,
    matmul_flops,
)
from recalign.plan.filling import Filling, Rows, measured_or_why_not
from recalign.plan.programs import (
    Layout,
    Program,
    Sizes,
    decode_program,
    mesh_of,
    sizes,
    train_program,
)
from recalign.plan.roofline import estimable, estimate, roofline
from recalign.plan.search import Tried, partitionings, search, too_large
from recalign.trainer import partitioning
from recalign.trainer.experiment import Experiment


@dataclasses.dataclass(frozen=True)
class Other:
    """The same training with packed rows instead of plain ones, or the other way round."""

    gin: tuple[str, ...]  # lines to paste, TRAIN_STEPS for as many examples in all among them
    examples_a_step: float  # that the rows hold
    chip_seconds_an_example: float  # estimated


@dataclasses.dataclass(frozen=True)
class Plan:
    """What an experiment needs of a slice."""

    name: str  # the mixture
    where: Slice
    available: int  # bytes of a chip's memory that programs may use
    layout: Layout  # what was planned: the experiment's, or the search's best
    batch_size: int  # rows over all chips
    decode_batch_size: int  # examples over all chips
    sizes: Sizes  # by shapes and shardings
    # The compiled programs; train is None where nothing is trained, decode where the train step
    # does not fit.
    train: Compiled | None
    decode: Compiled | None
    steps: int  # TRAIN_STEPS without those of pre-training
    examples_a_step: float | None  # that the rows hold: `batch_size`, or more where they are packed
    # Of rows with tokens; None where the examples cannot be read here.
    filling: Filling | None = None
    unread: str = ""  # why it has none
    packed: bool = False  # whether rows of training hold several examples
    # The experiment packed, or unpacked where it is packed, and how long its step is estimated to
    # take: as long as this one's is compiled to take, over what this one's is estimated to.
    other: Other | None = None
    tried: tuple[Tried, ...] = ()  # by the search, the fastest first
    gin: tuple[str, ...] = ()  # lines to paste, where a search found a layout that fits

    @property
    def fits(self) -> bool:
        return self.decode is not None and self.decode.fits

    @property
    def _step_seconds(self) -> float | None:
        times = roofline(self.train, self.where) if self.train else None
        return times.seconds if times else None

    @property
    def hours(self) -> float | None:
        return self._step_seconds * self.steps / 3600 if self._step_seconds else None

    @property
    def chip_hours(self) -> float | None:
        return None if self.hours is None else self.hours * self.where.chips

    @property
    def chip_seconds_an_example(self) -> float | None:
        if self._step_seconds is None or self.examples_a_step is None:
            return None
        return self._step_seconds * self.where.chips / self.examples_a_step


def plan(
    experiment: Experiment,
    topology: str,
    *,
    searching: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Plan:
    """Compiles the train step and the decode step of an experiment for a slice.

    Only shapes count, no weights are made; packed rows are counted in the experiment's data.
    `searching`: try layouts and plan the best that fits.
    """
    planner = _Planner(experiment, Slice.parse(topology), say)
    return planner.searched() if searching else planner.planned(Layout.of(experiment))


class _Planner:
    """Holds the slice's devices and what was compiled for them."""

    def __init__(self, experiment: Experiment, where: Slice, say: Callable[[str], None]):
        self._experiment = experiment
        self._where = where
        self._say = say
        self._devices = where.devices()
        self._available = available_bytes(self._devices[0])
        self._trained: dict[Layout, Compiled] = {}
        self._held: dict[Layout, Sizes] = {}
        self._flops: dict[bool | str, float] = {}  # of a chip, by rematerialisation

    def searched(self) -> Plan:
        experiment, where = self._experiment, self._where
        if experiment.train_steps <= experiment.initial_step:
            raise UserError(
                "--search is for the fastest train step, and this experiment trains none: plan it "
                "with a NUM_PARTITIONS of your own"
            )
        if not estimable(experiment):
            raise UserError(
                "--search estimates steps of T5 alone: plan a NUM_PARTITIONS of your own"
            )
        if not partitionings(experiment, where.chips):
            raise UserError(
                f"BATCH_SIZE = {experiment.batch_size}, VOCAB_SIZE = "
                f"{experiment.network.vocab_size} and the network's heads and widths cannot be "
                f"shared out to {where.chips} chips by any NUM_PARTITIONS"
            )
        costs = (self._sizes, self._estimated, self._try)
        tried = tuple(search(experiment, where.chips, self._available, *costs, self._say))
        layout = tried[0].layout
        if tried[0].seconds is None:
            compiled = [one.layout for one in tried if one.layout in self._trained]
            layout = compiled[-1] if compiled else tried[-1].layout
            return dataclasses.replace(self.planned(layout), tried=tried)
        found = self.planned(layout)
        copies = where.chips // layout.num_partitions
        while not found.fits and found.decode_batch_size % (2 * copies) == 0:
            smaller = found.decode_batch_size // 2
            self._experiment = dataclasses.replace(self._experiment, eval_batch_size=smaller)
            found = self.planned(layout)
        gin = layout.gin() if found.fits else []
        if found.fits and found.decode_batch_size != experiment.decode_batch_size:
            gin.append(f"EVAL_BATCH_SIZE = {found.decode_batch_size}")
        return dataclasses.replace(found, tried=tried, gin=tuple(gin))

    def planned(self, layout: Layout) -> Plan:
        experiment, mesh = self._experiment, mesh_of(self._devices, layout)
        steps = max(0, experiment.train_steps - experiment.initial_step)
        train = self._train(layout) if steps else None
        decode = None
        if train is None or train.fits:
            partitioning.check_batch_size("EVAL_BATCH_SIZE", experiment.decode_batch_size, mesh)
            self._say(f"compiling the decode step: batch {experiment.decode_batch_size}")
            decode = compile_program(decode_program(experiment, layout, mesh), self._where.chips)
        filling, unread = measured_or_why_not(experiment) if train else (None, "")
        examples: float | None = None if experiment.pack else experiment.batch_size
        other = None
        if filling is not None and train is not None:
            if examples is None:
                lengths = experiment.task_feature_lengths
                examples = filling.packed(experiment.batch_size, lengths).examples
            other = self._other(filling, layout, train, examples)
        return Plan(
            name=experiment.mixture_or_task_name,
            where=self._where,
            available=self._available,
            layout=layout,
            packed=experiment.pack,
            batch_size=experiment.batch_size,
            decode_batch_size=experiment.decode_batch_size,
            sizes=self._sizes(layout),
            train=train,
            decode=decode,
            steps=steps,
            examples_a_step=examples,
            filling=filling,
            unread=unread,
            other=other,
        )

    def _other(
        self, filling: Filling, layout: Layout, train: Compiled, examples: float
    ) -> Other | None:
        """The experiment packed, or its rows unpacked, a step of as many examples, or of some more.

        Of NUM_PARTITIONS, which fit other numbers of rows, that with the shortest step.
        """
        experiment, chips = self._experiment, self._where.chips
        times = roofline(train, self._where)
        if times is None or not estimable(experiment):
            return None
        at_least = round(examples)
        shared = dataclasses.replace(
            experiment, batch_size=chips, eval_batch_size=experiment.decode_batch_size
        )
        found: list[tuple[float, Rows, Layout]] = []
        for number in partitionings(shared, chips):
            spread = dataclasses.replace(layout, num_partitions=number)
            copies = chips // number * layout.microbatches
            if experiment.pack:
                rows = filling.unpacked(copies * math.ceil(at_least / copies))
            else:
                rows = filling.recommended(at_least, copies)
            changed = dataclasses.replace(
                shared, pack=rows.packed, batch_size=rows.rows, task_feature_lengths=rows.lengths
            )
            planner = _Planner(changed, self._where, self._say)
            if not too_large(planner._sizes(spread), self._available):
                found.append((planner._estimated(spread), rows, spread))
        if not found:
            return None
        seconds, rows, spread = min(found, key=lambda it: it[0])
        seconds *= times.seconds / self._estimated(layout)
        steps = experiment.train_steps - experiment.initial_step
        as_many = experiment.initial_step + math.ceil(steps * examples / rows.examples)
        gin = [*rows.gin(), f"EVAL_BATCH_SIZE = {experiment.decode_batch_size}"]
        gin.append(f"TRAIN_STEPS = {as_many:_}")
        if spread != layout:
            gin.append(f"NUM_PARTITIONS = {spread.num_partitions}")
        return Other(tuple(gin), rows.examples, seconds * chips / rows.examples)

    def _train(self, layout: Layout) -> Compiled:
        if layout not in self._trained:
            self._say(f"compiling the train step: {', '.join(layout.gin())}")
            self._trained[layout] = compile_program(self._traced(layout), self._where.chips)
        return self._trained[layout]

    def _traced(self, layout: Layout) -> Program:
        mesh, batch_size = mesh_of(self._devices, layout), self._experiment.batch_size
        partitioning.check_batch_size("BATCH_SIZE", batch_size, mesh, layout.microbatches)
        return train_program(self._experiment, layout, mesh)

    def _sizes(self, layout: Layout) -> Sizes:
        if layout not in self._held:
            mesh = mesh_of(self._devices, layout)
            self._held[layout] = sizes(self._experiment, layout, mesh)
        return self._held[layout]

    def _estimated(self, layout: Layout) -> float:
        """Seconds of a train step, by hand."""
        if layout.remat not in self._flops:  # how a step is spread does not change its products
            jaxpr = self._traced(layout).traced.jaxpr
            self._flops[layout.remat] = matmul_flops(jaxpr) / self._where.chips
        flops = self._flops[layout.remat]
        return estimate(self._experiment, layout, self._where, flops, self._sizes).seconds

    def _try(self, layout: Layout) -> tuple[float | None, str]:
        compiled = self._train(layout)
        times = roofline(compiled, self._where)
        if times is None or compiled.peak is None:
            return None, compiled.refusal or ""
        return times.seconds, f"{compiled.peak / self._available:.0%} of the memory"
