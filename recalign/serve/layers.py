"""What every request passes before an endpoint has it: a count, a token, bounds on its body.

The layers are ASGI's own functions: Starlette's `BaseHTTPMiddleware` would start tasks for each
request, which takes as long as all else that is done for it outside of the model.
"""

import asyncio
import hmac
import time
from collections.abc import Callable, Collection, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CLOSE = {"connection": "close"}  # whose body may not have been read
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class BoundedBodies:
    """Passes an HTTP request on when its body is there whole; a larger or slower one is refused.

    One whose client left before that is dropped: what came of it may be complete JSON.
    """

    def __init__(self, app: ASGIApp, most_bytes: int, longest_s: float):
        self._app, self._most_bytes, self._longest_s = app, most_bytes, longest_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._longest_s):
                body = await self._body(scope, receive)
        except ClientDisconnect:
            return
        except TimeoutError:
            late = failure(408, f"the body took longer than {self._longest_s:g} s", CLOSE)
            await late(scope, receive, send)
            return
        if body is None:
            large = failure(413, f"a body of more than {self._most_bytes:,} bytes", CLOSE)
            await large(scope, receive, send)
            return
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        await self._app(scope, replay, send)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """None where it is too large: it is not read on."""
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length[:20]) > self._most_bytes:
            return None
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            body += message.get("body", b"")
            if len(body) > self._most_bytes:
                return None
            if not message.get("more_body", False):
                return bytes(body)


class TokenNeeded:
    """Passes on what brings `Authorization: Bearer TOKEN`, and what asks for an open path."""

    def __init__(self, app: ASGIApp, token: str, open_paths: Collection[str]):
        self._app, self._expected = app, f"Bearer {token}".encode()
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in self._open_paths:
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self._expected):
                refusal = failure(401, "a token is needed", {"www-authenticate": "Bearer", **CLOSE})
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


class Monitoring:
    """The figures of one server: what /metrics says, in Prometheus' format."""

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


class Watched:
    """Counts the responses; a client that left before its own got none."""

    def __init__(self, app: ASGIApp, monitoring: Monitoring, paths: Collection[str]):
        self._app, self._monitoring, self._paths = app, monitoring, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            status = status or 500  # is sent by Starlette's own outermost layer
            raise
        finally:
            if status:
                path, seconds = scope["path"], time.perf_counter() - begun
                path = path if path in self._paths else "other"
                self._monitoring.responded(path, status, seconds)


def failure(status: int, error: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The response that says an error in one line."""
    # Half a surrogate pair, which a request may hand in, is no text but can be escaped.
    text = error.encode(errors="backslashreplace").decode()
    return JSONResponse({"error": text}, status, headers)
