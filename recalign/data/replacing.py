"""What a preparation replaces: a dataset of the same name that was there before."""

import os
from collections.abc import Mapping
from typing import Any

from recalign.data.integrity import read_json
from recalign.data.prepared import INFO_FILE, PreparedDataset, dataset_path
from recalign.errors import UserError


def what_is_there(name: str, data_dir: str | os.PathLike) -> Mapping[str, Any] | None:
    """What a dataset says of itself before it is replaced, damaged or not; None where none is."""
    path = dataset_path(name, data_dir) / INFO_FILE
    if not path.exists():
        return None
    try:
        found = read_json(path)
    except UserError:
        return {}
    return found if isinstance(found, Mapping) else {}


def replacement_note(before: Mapping[str, Any] | None, now: PreparedDataset) -> str | None:
    """What a person is told of it.

    Args:
        before: what was there.
        now: what took its place.
    """
    if before is None:
        return None
    if before.get("fingerprint") == now.fingerprint:
        return f"{now.name} was prepared before, with the same content: runs go on with it"
    return (
        f"{now.name} was prepared before and is replaced: it had {_sizes(before)} and has "
        f"{_sizes(now.info)}; runs that were made from it refuse this one"
    )


def _sizes(info: Mapping[str, Any]) -> str:
    counts = [info.get(name) for name in ("users", "items", "interactions")]
    users, items, interactions = (f"{n:,}" if isinstance(n, int) else "unknown" for n in counts)
    mark = str(info.get("fingerprint", "unknown"))[:12]
    return f"{users} users, {items} items, {interactions} interactions (fingerprint {mark})"
