"""A tree of arrays on disk as Orbax keeps it, read and written array by array.

    <folder>/_METADATA          JSON: the tree's names
    <folder>/manifest.ocdbt, d/ an OCDBT database with a zarr array for each name
    <folder>/checkpoint         instead of both in Orbax of 2023: msgpack, with placeholders for
                                zarr arrays that have folders of their own

Orbax itself writes only arrays that are in memory whole.
"""

import ast
import json
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorstore as ts
from etils import epath

from recalign.errors import UserError
from recalign.weights import stores, t5x_state
from recalign.weights.tensors import Tensor, flatten

METADATA = "_METADATA"
_MSGPACK = "checkpoint"
_PLACEHOLDER = "PLACEHOLDER://"
# What JSON and Python's literals raise where a file is damaged, or is somebody else's.
_OF_DAMAGE = (
    ValueError, KeyError, TypeError, AttributeError, SyntaxError, RecursionError, MemoryError,
)  # fmt: skip
_EMPTY = ("Dict", "None", "List", "Tuple")
_COMMIT_BYTES = 16 * 2**20
_COMMITTED = "commit_success.txt"
_HANDLERS = "orbax.checkpoint._src.handlers"
PYTREE_HANDLER = f"{_HANDLERS}.pytree_checkpoint_handler.PyTreeCheckpointHandler"
STANDARD_HANDLER = f"{_HANDLERS}.standard_checkpoint_handler.StandardCheckpointHandler"
JSON_HANDLER = f"{_HANDLERS}.json_checkpoint_handler.JsonCheckpointHandler"


def detect(folder: epath.Path) -> bool:
    """Whether a tree is stored in the folder."""
    if (folder / METADATA).exists():
        return True
    msgpack = folder / _MSGPACK
    return msgpack.is_file() and _PLACEHOLDER.encode() in msgpack.read_bytes()


def open_tree(folder: epath.Path) -> dict[str, Tensor]:
    """Names joined by `/` -> arrays."""
    if (folder / METADATA).exists():
        names, version = _names_and_zarr_version(folder)
        inline: Mapping[str, Tensor] = {}
    else:
        names, version = {}, 2
        leaves = flatten(t5x_state.read_msgpack(folder / _MSGPACK), lambda node: False)
        for name, leaf in leaves.items():
            if isinstance(leaf, str) and leaf.startswith(_PLACEHOLDER):
                names[name] = leaf.removeprefix(_PLACEHOLDER)
        inline = {
            name: t5x_state.inline(str(folder), name, leaf)
            for name, leaf in leaves.items()
            if name not in names
        }
    in_database = (folder / "manifest.ocdbt").exists()
    context = ts.Context()
    stored = {}
    for name, array in names.items():
        spec = stores.zarr_in(folder, array, version, in_database)
        stored[name] = stores.open_tensor(spec, f"{folder}: {name}", context)
    return {**inline, **stored}


class Writer:
    """Writes a tree of arrays, each in parts; `close` writes the table of contents.

    The database is committed whenever enough has come together, because a commit a small array
    takes longer than the array.
    """

    def __init__(self, folder: pathlib.Path):
        folder.mkdir(parents=True)
        self._folder = epath.Path(folder)
        self._metadata: dict[str, dict] = {}
        self._array: Any = None
        self._transaction = ts.Transaction()
        self._uncommitted = 0

    def begin(
        self, name: str, shape: tuple[int, ...], stacked: bool = False, dtype: str = "float32"
    ) -> None:
        """A new array, which the next `write` is for, or the next ones if it is stacked."""
        self._add(name, {"value_type": "np.ndarray", "skip_deserialize": False})
        spec = stores.zarr_in(self._folder, name.replace("/", "."), in_database=True)
        self._array = stores.create(spec, shape, stacked, dtype, self._transaction)

    def write(self, array: np.ndarray, layer: int | None = None) -> None:
        """The whole array, or a layer of a stacked one."""
        for part in stores.parts(array.shape):
            size = array[part].nbytes
            if self._uncommitted + size > _COMMIT_BYTES:
                self._commit()
                self._array = self._array.with_transaction(self._transaction)
            self._uncommitted += size
            stores.write(self._array, array, part, layer)

    def write_step(self, name: str, step: int) -> None:
        """A number, which is of type int32 in every train state."""
        self.begin(name, (), dtype="int32")
        self.write(np.asarray(step, np.int32))

    def create_empty(self, name: str) -> None:
        """A mapping without entries."""
        self._add(name, {"value_type": "Dict", "skip_deserialize": True})

    def _commit(self) -> None:
        stores.result(self._transaction.commit_async())
        self._transaction, self._uncommitted = ts.Transaction(), 0

    def close(self) -> None:
        self._commit()
        table = {
            "tree_metadata": self._metadata,
            "use_ocdbt": True,
            "use_zarr3": False,
            "store_array_data_equal_to_fill_value": True,
            "custom_metadata": None,
        }
        (self._folder / METADATA).write_text(json.dumps(table))
        commit(self._folder)

    def _add(self, name: str, value: dict) -> None:
        keys = tuple(name.split("/"))
        self._metadata[str(keys)] = {
            "key_metadata": [{"key": key, "key_type": 2} for key in keys],
            "value_metadata": value,
        }


def write_step_metadata(folder: epath.Path, handlers: Mapping[str, str]) -> None:
    """What Orbax's manager writes beside the items of a step: item -> what reads it."""
    now = time.time_ns()
    table = {
        "item_handlers": dict(handlers),
        "metrics": {},
        "performance_metrics": {},
        "init_timestamp_nsecs": now,
        "commit_timestamp_nsecs": now,
        "custom_metadata": {},
    }
    (folder / "_CHECKPOINT_METADATA").write_text(json.dumps(table))
    commit(folder)


def commit(folder: epath.Path) -> None:
    """Orbax's mark of a folder that was written to its end; needed in a bucket."""
    (folder / _COMMITTED).write_text(f"Checkpoint commit was successful to {folder.name}")


def _names_and_zarr_version(folder: epath.Path) -> tuple[dict[str, str], int]:
    path = folder / METADATA
    try:
        table = json.loads(path.read_text())
        keys = {
            tuple(map(str, ast.literal_eval(key))): entry["value_metadata"]["value_type"]
            for key, entry in table["tree_metadata"].items()
        }
    except _OF_DAMAGE as error:
        raise UserError(f"{path}: cannot be read: {str(error)[:200]!r}") from error
    names = {"/".join(key): ".".join(key) for key, kind in keys.items() if kind not in _EMPTY}
    return names, 3 if table.get("use_zarr3") else 2
