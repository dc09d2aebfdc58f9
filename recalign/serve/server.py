"""The process behind `recalign serve`: a socket, uvicorn, and an orderly end."""

import asyncio
import signal
import socket
import threading
from collections.abc import Callable

import h11
import uvicorn
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from recalign.errors import UserError
from recalign.serve.layers import CLOSE, failure

_MOST_CONNECTIONS = 4_096
# After SIGTERM: as long as Kubernetes gives a pod, less what leaving takes.
_LONGEST_END_S = 25


def reserve(host: str, port: int) -> socket.socket:
    """A socket with an address, which refuses connections until the server listens.

    A port of 0 is any that is free. An address that is in use, or not this machine's, is refused.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reserved = socket.socket(family, socket.SOCK_STREAM)
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((host, port))
    except (OSError, OverflowError) as error:
        reserved.close()
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--host {host} --port {port}: {reason}") from error
    return reserved


class _Protocol(H11Protocol):
    """uvicorn's, which refuses by JSON what it cannot read as HTTP, and waits for no head for ever.

    uvicorn itself closes a connection that is silent after a response, and no other one.
    """

    longest_head_s = 30.0
    _closing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Overrides uvicorn's: from here on a request's head is waited for."""
        super().connection_made(transport)
        self._limit_wait()

    def data_received(self, data: bytes) -> None:
        """Overrides uvicorn's: the wait ends with the head, and begins with the next one's."""
        super().data_received(data)
        self._limit_wait()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._closing is not None:
            self._closing.cancel()
        super().connection_lost(exc)

    def _limit_wait(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            if self._closing is not None:
                self._closing.cancel()
            self._closing = None
        elif self._closing is None:
            wait, close = self.longest_head_s, self.timeout_keep_alive_handler
            self._closing = self.loop.call_later(wait, close)

    def send_400_response(self, msg: str) -> None:
        """Overrides uvicorn's, whose answer is plain text."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            refusal = failure(400, msg, CLOSE)
            head = h11.Response(status_code=400, headers=refusal.raw_headers, reason=b"Bad Request")
            for event in (head, h11.Data(data=refusal.body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event))
        self.transport.close()


def make_server(
    app: FastAPI, *, most_connections: int = _MOST_CONNECTIONS, log_level: str = "warning"
) -> uvicorn.Server:
    """uvicorn with an application, by HTTP/1.1 alone.

    A request on one more than the most open connections gets 503; the log goes to standard error.
    """

    async def bounded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and len(server.server_state.connections) > most_connections:
            refusal = failure(503, "too many connections are open", {"retry-after": "1", **CLOSE})
            await refusal(scope, receive, send)
        else:
            await app(scope, receive, send)

    config = uvicorn.Config(
        bounded,
        http=_Protocol,
        log_level=log_level,
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=_LONGEST_END_S,
    )
    server = uvicorn.Server(config)
    return server


def run(app: FastAPI, listening: socket.socket, say: Callable[[str], None]) -> None:
    """Serves until SIGTERM or Ctrl-C; requests that came before are answered first.

    The socket is closed at the end; `say` gets a line with the address.
    """
    with listening:
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        say(f"listening at http://{shown}:{port} (docs at /docs)")
        if threading.current_thread() is threading.main_thread():
            # uvicorn ends in order and raises the signal again: SIGTERM has had its effect then.
            signal.signal(signal.SIGTERM, lambda number, frame: None)
        make_server(app).run(sockets=[listening])
