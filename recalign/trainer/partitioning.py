"""Where arrays live: the mesh of devices and the one table of sharding rules."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from recalign.errors import UserError

DATA, MODEL = "data", "model"

# The last names of a parameter's path -> how its axes are spread over the mesh, the layer axis of
# a stack left out. Heads, hidden units and the vocabulary go over MODEL; the rest is replicated.
_COLUMNS = ("query", "key", "value", "wi_0", "wi_1", "logits_dense")
_RULES: tuple[tuple[tuple[str, ...], P], ...] = (
    *(((name, "kernel"), P(None, MODEL)) for name in _COLUMNS),
    *(((name, "kernel"), P(MODEL, None)) for name in ("out", "wo")),
    (("token_embedder", "embedding"), P(MODEL, None)),
    (("rel_embedding",), P(MODEL, None)),
)


def make_mesh(num_partitions: int = 1, devices: Sequence[Any] | None = None) -> Mesh:
    """Devices as DATA x MODEL, with `num_partitions` of them to a copy of the parameters.

    Those of one process stay together, so that its rows of a batch are consecutive and a copy of
    the parameters spans as few hosts as can be. `devices`: None for all of the run's.
    """
    among = sorted(devices or jax.devices(), key=lambda device: (device.process_index, device.id))
    if len(among) % num_partitions:
        raise UserError(
            f"NUM_PARTITIONS = {num_partitions} does not divide the {len(among)} devices: set "
            "it to 1, or to as many as are to share a copy of the parameters"
        )
    return Mesh(np.asarray(among).reshape(-1, num_partitions), (DATA, MODEL))


def is_stacked(path: tuple[str, ...]) -> bool:
    """Whether a parameter's first axis counts the layers of a stack."""
    return "layers" in path


def path_names(path: tuple[Any, ...]) -> tuple[str, ...]:
    """A path of JAX's trees as the names of mappings' keys and named tuples' fields."""
    return tuple(str(getattr(key, "key", getattr(key, "name", key))) for key in path)


def state_shardings(mesh: Mesh, state: Any) -> Any:
    """For a tree of parameters, or of a train state with such trees in it: a sharding a leaf."""

    def of_leaf(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        return NamedSharding(mesh, _spec(mesh, path_names(path), tuple(leaf.shape)))

    return jax.tree_util.tree_map_with_path(of_leaf, state)


def spread_sizes(params: Any) -> set[int]:
    """The sizes of the axes that go over MODEL where it divides them: heads, hidden units, …."""
    return {
        size
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        for axis, size in zip(_axes(path_names(path), leaf.ndim), leaf.shape, strict=False)
        if axis == MODEL
    }


def _spec(mesh: Mesh, names: tuple[str, ...], shape: tuple[int, ...]) -> P:
    axes = _axes(names, len(shape))
    sides = [size for axis, size in zip(axes, shape, strict=False) if axis == MODEL]
    return P(*axes) if all(size % mesh.shape[MODEL] == 0 for size in sides) else P()


def _axes(names: tuple[str, ...], dimensions: int) -> tuple[str | None, ...]:
    for suffix, spec in _RULES:
        if names[-len(suffix) :] == suffix:
            axes = (None, *spec) if is_stacked(names) else tuple(spec)
            # Factored moments have an axis less than their parameter: small, and replicated.
            return axes if len(axes) == dimensions else ()
    return ()


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Of arrays whose first axis counts examples."""
    return NamedSharding(mesh, P(DATA))


def rows_of_this_process(batch_size: int, mesh: Mesh) -> slice:
    """The part of a global batch that this process reads: the rows that its devices hold.

    Processes whose devices share one copy of the parameters read the same rows.
    """
    held = batch_sharding(mesh).addressable_devices_indices_map((batch_size,))
    rows = [index[0].indices(batch_size) for index in held.values() if index is not None]
    return slice(min(start for start, _, _ in rows), max(stop for _, stop, _ in rows))


def check_batch_size(name: str, batch_size: int, mesh: Mesh, microbatches: int = 1) -> None:
    copies = mesh.shape[DATA]
    if batch_size % (copies * microbatches):
        parts = f"{microbatches} microbatches on " if microbatches > 1 else ""
        raise UserError(f"{name} = {batch_size} cannot be shared out to {parts}{copies} devices")


def shard_local(mesh: Mesh, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """This process's rows of a batch -> the global batch, spread over DATA."""
    sharding = batch_sharding(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, rows) for name, rows in batch.items()
    }


def batch_shapes(
    mesh: Mesh, batch_size: int, lengths: Mapping[str, int]
) -> dict[str, jax.ShapeDtypeStruct]:
    """What `shard_local` gives for a batch of token ids: int32 [batch_size, length] a feature."""
    sharding = batch_sharding(mesh)
    return {
        name: jax.ShapeDtypeStruct((batch_size, length), np.int32, sharding=sharding)
        for name, length in lengths.items()
    }


def shard_whole(mesh: Mesh, array: np.ndarray) -> jax.Array:
    """An array that every process holds whole -> the same, spread over DATA."""
    sharding = batch_sharding(mesh)
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def to_host(tree: Any) -> Any:
    """Device arrays -> NumPy arrays that every process holds whole."""
    if jax.process_count() > 1:
        return multihost_utils.process_allgather(tree, tiled=True)
    return jax.device_get(tree)
