"""Bodies of requests are bounded in size and in time, before anything reads them."""

import asyncio
import json

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BoundedBodies:
    """Passes an HTTP request on when its body is there whole; a larger or slower one is refused."""

    def __init__(self, app: ASGIApp, most_bytes: int, longest_s: float):
        self._app, self._most_bytes, self._longest_s = app, most_bytes, longest_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._longest_s):
                body = await self._body(scope, receive)
        except TimeoutError:
            await refuse(send, 408, f"the body took longer than {self._longest_s:g} s")
            return
        if body is None:
            await refuse(send, 413, f"a body of more than {self._most_bytes:,} bytes")
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
            body += message.get("body", b"")
            if len(body) > self._most_bytes:
                return None
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                return bytes(body)


async def refuse(send: Send, status: int, error: str) -> None:
    """Answers with an error and closes the connection, whose body may not have been read."""
    body = json.dumps({"error": error}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
