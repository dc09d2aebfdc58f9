"""What /metrics says, in Prometheus' format."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Monitoring:
    """The figures of one server."""

    def __init__(self, waiting: Callable[[], int]):
        """Begins with zeros; `waiting` says how many histories wait now."""
        self._registry = CollectorRegistry()
        self._responses = Counter(
            "recalign_responses", "Responses, by path and status", ["path", "status"],
            registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "recalign_response_seconds", "From a request's head to its response, by path", ["path"],
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._batch_size = Histogram(
            "recalign_batch_size", "Histories decoded together", buckets=_SIZES,
            registry=self._registry,
        )  # fmt: skip
        self._batch_seconds = Histogram(
            "recalign_batch_seconds", "Decoding of a batch", buckets=_SECONDS,
            registry=self._registry,
        )  # fmt: skip
        Gauge("recalign_waiting", "Histories that wait", registry=self._registry).set_function(
            waiting
        )

    def responded(self, path: str, status: int, seconds: float) -> None:
        self._responses.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def batch_answered(self, size: int, seconds: float) -> None:
        self._batch_size.observe(size)
        self._batch_seconds.observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self._registry)
