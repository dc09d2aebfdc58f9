"""Checkpoints of a run: the newest few and the best, checked when they are read.

A checkpoint of step n is the folder `checkpoints/n` with three items: `params`, `rest` (optimizer
and running sums) and `info` (JSON). It is written beside its place and renamed, so that a killed
run leaves whole checkpoints only. `info` holds a fingerprint of every array and a digest of itself,
so that a file that was damaged later is recognised even where its format notices nothing, and which
run saved it, so that another run's of the same sizes is not taken for this one's. A stack of layers
lies there layer by layer, so that each can be read alone (`recalign.weights.own`).
"""

import asyncio
import contextlib
import dataclasses
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers

from recalign.data import integrity, origins
from recalign.data.atomic import refuse_link, to_disk, tree_to_disk
from recalign.errors import UserError
from recalign.model.network import Network
from recalign.trainer.partitioning import is_stacked, path_names
from recalign.trainer.state import TrainState, sharded_params_shape
from recalign.trainer.writers import say
from recalign.weights import fingerprints, own
from recalign.weights.own import SELECTION

FOLDER = "checkpoints"
DAMAGED_FOLDER = "damaged_checkpoints"
# What a reader of a part of an array reads at least: little memory, few requests to a bucket.
_CHUNK_BYTES = 64 * 2**20
_Restored = TypeVar("_Restored")


# What Orbax, TensorStore and JSON raise on damaged and missing files. Others are no fault of the
# files: no memory, no network, no permission.
_OF_DAMAGE = (
    ValueError, TypeError, KeyError, AttributeError, FileNotFoundError, EOFError, RecursionError,
    IndexError, AssertionError, NotImplementedError,
)  # fmt: skip


# How TensorStore tells what the system said: by its number.
_OF_THE_SYSTEM = re.compile(r"os_error_code='(\d+)'")


class Damaged(Exception):
    """A checkpoint that cannot be read, or not as it was written."""


@dataclasses.dataclass(frozen=True)
class Saved:
    """What a run goes on from."""

    state: TrainState  # after its last step
    first_step: int  # where fine-tuning began
    lines: int | None  # of metrics.jsonl until then; None where the checkpoint does not say
    examples: Mapping[str, int] | None  # of each task in packed rows until then; None likewise


class Checkpoints:
    """The checkpoints in MODEL_DIR/checkpoints."""

    def __init__(self, model_dir: epath.Path, keep: int = 1, read_only: bool = False):
        """Opens the folder, which the first one saved makes; `keep` newest ones are kept."""
        # Orbax refuses relative paths.
        is_local = "://" not in os.fspath(model_dir)
        self._folder = (model_dir.absolute() if is_local else model_dir) / FOLDER
        if read_only and not self._folder.exists():
            raise UserError(f"{model_dir} holds no checkpoints: train first, or check MODEL_DIR")
        if is_local and not read_only:
            for path in (self._folder, model_dir / DAMAGED_FOLDER, *self._folder.glob("*")):
                refuse_link(path)
        on_disk = {"temporary_path_class": _OnDisk} if is_local else {}
        keep_best = checkpoint_managers.BestN(
            get_metric_fn=lambda metrics: metrics[SELECTION],
            n=1,
            keep_checkpoints_without_metrics=False,
        )
        self._open_manager: Callable[[], ocp.CheckpointManager] = lambda: ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                create=False,
                read_only=read_only,
                cleanup_tmp_directories=not read_only,
                # Without it Orbax writes no metrics; what is kept is the policy's affair.
                best_fn=lambda metrics: metrics[SELECTION],
                preservation_policy=checkpoint_managers.AnyPreservationPolicy(
                    [checkpoint_managers.LatestN(keep), keep_best]
                ),
                **on_disk,
            ),
            item_handlers={
                "params": ocp.StandardCheckpointHandler(),
                "rest": ocp.StandardCheckpointHandler(),
                "info": ocp.JsonCheckpointHandler(),
            },
        )
        self._manager = self._opened()

    def _opened(self) -> ocp.CheckpointManager:
        try:
            return _or_damaged(self._open_manager)
        except Damaged as error:
            raise UserError(
                f"{self._folder}: its checkpoints cannot be listed ({error}): move the damaged one "
                "away"
            ) from error

    def steps(self) -> list[int]:
        return sorted(self._manager.all_steps())

    def save(
        self,
        state: TrainState,
        first_step: int,
        metric: float | None = None,
        lines: int | None = None,
        run: str | None = None,
        examples: Mapping[str, int] | None = None,
    ) -> None:
        """Copies the state to host memory and goes on writing in the background.

        `metric`: what the best checkpoint is chosen by; `run`: by what run.json knows the run;
        `first_step`, `lines`, `examples`: as in `Saved`.
        """
        step = int(state.step)
        if step in self.steps():
            return
        if jax.process_index() == 0:
            self._folder.mkdir(parents=True, exist_ok=True)
        items = {"params": state.params, "rest": state._replace(params={})}
        told = {SELECTION: metric, "lines": lines, origins.RUN: run, "examples": examples}
        info = {
            "first_step": first_step,
            "fingerprints": {name: fingerprints.of_arrays(item) for name, item in items.items()},
            **{name: value for name, value in told.items() if value is not None},
        }
        arrays = {
            name: ocp.args.StandardSave(item, _in_chunks(item)) for name, item in items.items()
        }
        with self._of_the_place():
            self._manager.save(
                step,
                args=ocp.args.Composite(info=ocp.args.JsonSave(integrity.sealed(info)), **arrays),
                metrics=None if metric is None else {SELECTION: metric},
            )

    def restore_latest(self, shape: TrainState) -> Saved | None:
        """The newest whole checkpoint; damaged ones are told of and moved out of the way."""
        shapes = {"params": shape.params, "rest": shape._replace(params={})}
        while steps := self.steps():
            try:
                params, rest, info = self._read(steps[-1], shapes)
                if not isinstance(first_step := info.get("first_step"), int):
                    raise Damaged("its info does not say first_step")
            except Damaged as error:
                self._set_aside(steps[-1], str(error))
                continue
            lines, examples = info.get("lines"), info.get("examples")
            if not isinstance(examples, dict) or set(map(type, examples.values())) != {int}:
                examples = None
            lines = lines if isinstance(lines, int) else None
            return Saved(rest._replace(params=params), first_step, lines, examples)
        return None

    def restore_params(self, which: str | int, shape: Any) -> tuple[int, Any]:
        """(step, parameters) of the "best" or "last" checkpoint, or of that of a step.

        A damaged one is an error where its step was asked for; "last" and "best" are told to
        fall back on the one that is newest, or best, without it.
        """
        skipped: set[int] = set()
        while True:
            step = self._choose(which, skipped)
            try:
                params, _ = self._read(step, {"params": shape})
                return step, params
            except Damaged as error:
                if isinstance(which, int):
                    raise UserError(f"{self._folder / str(step)}: {error}") from error
                say(f"checkpoint {step} is damaged ({error}); looking for another")
                skipped.add(step)

    def wait(self) -> None:
        """Until all is written; raises what went wrong in the background."""
        with self._of_the_place():
            self._manager.wait_until_finished()

    def close(self) -> None:
        with self._of_the_place():
            self._manager.close()

    @contextlib.contextmanager
    def _of_the_place(self) -> Iterator[None]:
        """A full disk is no fault of ours: Orbax and TensorStore tell it as a ValueError."""
        try:
            yield
        except Exception as error:
            if isinstance(error, OSError) and error.errno:
                reason = error.strerror
            elif found := _OF_THE_SYSTEM.search(str(error)):
                reason = os.strerror(int(found[1]))
            else:
                raise
            raise UserError(
                f"{self._folder}: cannot be written: {reason}; whole checkpoints are kept, and the "
                "same command goes on from the newest"
            ) from error

    def _choose(self, which: str | int, skipped: set[int]) -> int:
        steps = [step for step in self.steps() if step not in skipped]
        if not steps:
            raise UserError(f"{self._folder} holds no whole checkpoint")
        if isinstance(which, int):
            if which not in steps:
                known = ", ".join(map(str, steps))
                raise UserError(f"{self._folder} holds no checkpoint of step {which}, but {known}")
            return which
        if which == "last":
            return steps[-1]
        if which != "best":
            raise UserError(f"checkpoint {which!r}: 'best', 'last' or a step is expected")
        return own.best({step: self._metric(step) for step in steps})

    def _metric(self, step: int) -> float | None:
        try:
            return own.score(self._folder / str(step))
        except UserError as error:
            say(f"checkpoint {step} does not say how good it is ({error})")
            return None

    def _read(self, step: int, shapes: Mapping[str, Any]) -> tuple[Any, ...]:
        """The items, in the order of `shapes`, and the info; `Damaged` where anything is amiss."""
        for name, shape in shapes.items():
            self._refuse_another(step, name, shape)
        arguments = {name: ocp.args.StandardRestore(shape) for name, shape in shapes.items()}
        restored = _or_damaged(
            lambda: self._manager.restore(
                step, args=ocp.args.Composite(info=ocp.args.JsonRestore(), **arguments)
            )
        )
        expected = _or_damaged(lambda: dict(restored["info"]["fingerprints"]))
        if integrity.DIGEST in restored["info"] and not integrity.is_sealed(restored["info"]):
            raise Damaged("its info is not what was written")
        origins.check_own(self._folder.parent, step, restored["info"])
        for name in shapes:
            fingerprints.check_version(expected.get(name), str(self._folder / str(step)))
            if fingerprints.of_arrays(restored[name]) != expected.get(name):
                raise Damaged(f"its {name} are not what was written")
        return (*(restored[name] for name in shapes), restored["info"])

    def _refuse_another(self, step: int, item: str, shape: Any) -> None:
        """Before a checkpoint of other sizes is taken for a damaged one."""
        what = {"params": "model", "rest": "optimizer"}[item]
        stored = _or_damaged(lambda: self._manager.item_metadata(step)[item])
        found, expected = _sizes(stored), _sizes(shape)
        if not found:
            raise Damaged(f"its {item} are not listed")
        for name in sorted(found.keys() | expected.keys()):
            if found.get(name) != expected.get(name):
                raise UserError(
                    f"{self._folder / str(step)} is of another {what}: {name} is "
                    f"{found.get(name, 'absent')} there, {expected.get(name, 'absent')} in the "
                    "experiment; give another MODEL_DIR, or the settings that it was trained with"
                )

    def _set_aside(self, step: int, why: str) -> None:
        source = self._folder / str(step)
        target = self._folder.parent / DAMAGED_FOLDER / str(step)
        say(f"checkpoint {step} is damaged ({why}); it is moved to {target}")
        self._manager.close()
        if jax.process_index() == 0:
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                target.rmtree()
            source.rename(target)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"checkpoint {step} set aside")
        self._manager = self._opened()


def restored_params(
    model_dir: epath.Path, which: str | int, network: Network, mesh: jax.sharding.Mesh
) -> tuple[int, Any]:
    """(step, parameters) of a run's checkpoint (`Checkpoints.restore_params`), on the mesh."""
    with contextlib.closing(Checkpoints(model_dir, read_only=True)) as checkpoints:
        return checkpoints.restore_params(which, sharded_params_shape(network, mesh))


class _OnDisk(ocp.path.atomicity.AtomicRenameTemporaryPath):
    """A checkpoint has its name when its files are on disk, and older ones go when the name is.

    TensorStore waits for the arrays, but Orbax for none of the JSON beside them.
    """

    async def finalize(self) -> None:
        await asyncio.to_thread(tree_to_disk, self.get())
        await super().finalize()
        final = self.get_final()
        for path in (*final.iterdir(), final, final.parent):  # it wrote two files before the rename
            await asyncio.to_thread(to_disk, path)


def _in_chunks(tree: Any) -> Any:
    """How each array is cut: a stack into its layers, and what is large into parts."""

    def of_leaf(path: tuple[Any, ...], leaf: jax.Array) -> ocp.SaveArgs:
        layers = (0,) if is_stacked(path_names(path)) else ()
        return ocp.SaveArgs(chunk_byte_size=_CHUNK_BYTES, shard_axes=layers)

    return jax.tree_util.tree_map_with_path(of_leaf, tree)


def _or_damaged(read: Callable[[], _Restored]) -> _Restored:
    try:
        return read()
    except Exception as error:
        # Orbax puts what TensorStore says of an array into a plain Exception.
        cause = error.__cause__ if type(error) is Exception else error
        if not isinstance(cause, _OF_DAMAGE):
            raise
        said = str(cause).strip().splitlines() or [type(cause).__name__]
        raise Damaged(said[0][:200]) from error


def _sizes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        "/".join(path_names(path)): tuple(leaf.shape)
        for path, leaf in leaves
        if hasattr(leaf, "shape")
    }
