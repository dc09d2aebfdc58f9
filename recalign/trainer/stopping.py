"""Signals that ask a run to stop."""

import contextlib
import dataclasses
import signal
import threading
from collections.abc import Iterator
from typing import Any

import jax
from jax.experimental import multihost_utils

from recalign.trainer.writers import say


@dataclasses.dataclass
class StopRequest:
    """Which signal asked the run to stop, if one did."""

    by: signal.Signals | None = None

    def comes_before(self, step: int) -> bool:
        """Whether to stop before this step; several processes come to one answer."""
        # Of several processes JAX itself takes note of SIGTERM, and tells all of them.
        if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step):
            self.by = signal.SIGTERM
        return self.by is not None


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """SIGTERM (a pre-empted machine) and Ctrl-C ask to stop instead of ending the process.

    A second Ctrl-C interrupts as usual.
    """
    stop = StopRequest()
    # Only the main thread can handle signals.
    if threading.current_thread() is not threading.main_thread() or jax.process_count() > 1:
        yield stop
        return

    def request(number: int, frame: Any) -> None:
        if stop.by is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.by = signal.Signals(number)
        say(f"{stop.by.name}: saving the state and leaving")

    before = {number: signal.signal(number, request) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
