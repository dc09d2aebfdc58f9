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


def run(app: FastAPI, host: str, port: int, say: Callable[[str], None]) -> None:
    """Serves until SIGTERM or Ctrl-C; requests that came before are answered first.

    Args:
      app: the application.
      host: the address to listen at.
      port: 0 for any that is free.
      say: gets a line with the address.

    Raises:
      UserError: the address is in use, or not this machine's.
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
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise UserError(f"--host {host} --port {port}: {error.strerror or error}") from error
    with listening:
        shown = f"[{host}]" if ":" in host else host
        say(f"listening at http://{shown}:{listening.getsockname()[1]} (docs at /docs)")
        if threading.current_thread() is threading.main_thread():
            # uvicorn ends in order and raises the signal again: SIGTERM has had its effect then.
            signal.signal(signal.SIGTERM, lambda number, frame: None)
        uvicorn.Server(config).run(sockets=[listening])
