"""Keeps what was computed of a prepared dataset, as long as few datasets are in use."""

import collections
import functools
import threading
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

_KEPT = 64


def once_per_dataset(function: Function) -> Function:
    """Remembers `function(dataset, *hashable)` for the datasets used last.

    A prepared dataset is no key by value (it holds dictionaries); `open_dataset` gives the same
    object as long as the files are the same, so its identity is one.
    """
    results: collections.OrderedDict = collections.OrderedDict()
    lock = threading.RLock()

    @functools.wraps(function)
    def remembering(dataset: Any, *arguments: Any) -> Any:
        key = (id(dataset), *arguments)
        with lock:
            if key not in results:
                # The dataset stays beside the result: its id is not given to another meanwhile.
                results[key] = (dataset, function(dataset, *arguments))
            results.move_to_end(key)
            while len(results) > _KEPT:
                results.popitem(last=False)
            return results[key][1]

    return remembering  # type: ignore[return-value]
