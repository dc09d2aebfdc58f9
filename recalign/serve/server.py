"""The process behind `recalign serve`: a socket, uvicorn, and an orderly end."""

import signal
import socket
import threading
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from recalign.errors import UserError

_MOST_CONNECTIONS = 4_096
# After SIGTERM: as long as Kubernetes gives a pod, less what leaving takes.
_LONGEST_END_S = 25


def reserve(host: str, port: int) -> socket.socket:
    """A socket with an address, which refuses connections until the server listens.

    Args:
      host: the address.
      port: 0 for any that is free.

    Raises:
      UserError: the address is in use, or not this machine's.
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


def run(app: FastAPI, listening: socket.socket, say: Callable[[str], None]) -> None:
    """Serves until SIGTERM or Ctrl-C; requests that came before are answered first.

    Args:
      app: the application.
      listening: where; it is closed at the end.
      say: gets a line with the address.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=_LONGEST_END_S,
    )
    with listening:
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        say(f"listening at http://{shown}:{port} (docs at /docs)")
        if threading.current_thread() is threading.main_thread():
            # uvicorn ends in order and raises the signal again: SIGTERM has had its effect then.
            signal.signal(signal.SIGTERM, lambda number, frame: None)
        uvicorn.Server(config).run(sockets=[listening])
