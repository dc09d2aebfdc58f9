"""What the server says where no request comes to the application: by bytes on a socket."""

import json
import socket
import time

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from recalign.serve.application import make_app
from recalign.serve.server import _Protocol
from tests.serve.running import StandIn, ask, running

HEAD = b"POST /recommend HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def port():
    with running(make_app(StandIn())) as (port, _):
        yield port


def sent(port, *parts):
    """What the server says to bytes until it closes, as (first line, headers, body)."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        for part in parts:
            connection.sendall(part)
        head, _, body = b"".join(iter(lambda: connection.recv(2_000), b"")).partition(b"\r\n\r\n")
    first, *headers = head.decode().split("\r\n")
    return first, dict(header.split(": ") for header in headers), body


@pytest.mark.parametrize(
    "told",
    [
        b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n",
        b"Content-Length: abc\r\n\r\n{}",
        b"Content-Length: -1\r\n\r\n{}",
        b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"No header\r\n\r\n",
        b"Too-Long: " + b"x" * 20_000,
    ],
    ids=lambda it: it[:24].decode(),
)
def test_what_is_no_http_is_answered_by_json(port, told):
    first, headers, body = sent(port, HEAD + told)
    assert first == "HTTP/1.1 400 Bad Request"
    assert headers["content-type"] == "application/json"
    assert int(headers["content-length"]) == len(body)
    assert json.loads(body) == {"error": "Invalid HTTP request received."}
    assert ask(port, "/recommend", {"history": [4]})[0] == 200


def test_a_chunk_without_a_size_after_good_ones_executes_nothing():
    stand_in = StandIn()
    with running(make_app(stand_in)) as (port, _):
        head = HEAD + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        first, _, body = sent(port, head, b'10\r\n{"history": [4]}\r\nxyz\r\n')
        assert first == "HTTP/1.1 400 Bad Request" and list(json.loads(body)) == ["error"]
        assert ask(port, "/recommend", {"history": [4]})[0] == 200
    assert sum(stand_in.batches) == 1


def test_connections_are_bounded():
    with running(make_app(StandIn()), most_connections=2) as (port, server):
        while server.server_state.connections:  # those that asked whether it is ready
            time.sleep(0.01)
        with (
            socket.create_connection(("127.0.0.1", port)),
            socket.create_connection(("127.0.0.1", port)),
        ):
            status, answer, headers = ask(port, "/health", method="GET")
            assert (status, answer) == (503, {"error": "too many connections are open"})
            assert headers["Retry-After"] == "1"
        while server.server_state.connections:
            time.sleep(0.01)
        assert ask(port, "/health", method="GET")[0] == 200


def test_a_connection_without_a_request_is_closed(monkeypatch):
    """Silent, in the midst of a head, or in the midst of the next; an answer may take longer."""
    monkeypatch.setattr(_Protocol, "longest_head_s", 0.2)
    with running(make_app(StandIn(seconds=0.5))) as (port, _):
        assert sent(port) == ("", {}, b"")
        assert sent(port, HEAD) == ("", {}, b"")
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(b'{"status":"alive"}'):
                answer += connection.recv(2_000)
            connection.sendall(HEAD)
            assert connection.recv(2_000) == b""
        assert ask(port, "/recommend", {"history": [4]})[0] == 200
