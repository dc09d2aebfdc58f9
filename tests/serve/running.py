"""An application that a server on loopback runs in a thread, and a recommender without a model."""

import contextlib
import http.client
import json
import socket
import threading
import time
from types import SimpleNamespace

import numpy as np

from recalign.errors import UserError
from recalign.serve.server import make_server

ITEMS, TRAINED = 30, 28


class Items:
    """Items 0 … 29, by their numbers as text; the last two were not trained on."""

    def subset(self, ids):
        if not ids:
            raise UserError("no items")
        allowed = np.zeros(ITEMS, bool)
        allowed[[self.index(item) for item in ids]] = True
        return allowed

    def index(self, item):
        if not item.isdecimal() or int(item) >= ITEMS:
            raise UserError(f"no item {item!r}")
        return int(item)


class StandIn:
    """Recommends what follows the last item, in order of numbers; takes its time."""

    def __init__(self, seconds=0.0):
        self.items, self.seconds, self.batches, self.fails = Items(), seconds, [], False

    def warm_up(self, k, *, together, until):
        return 4

    def query(self, history, k, only, *, exclude, user, untrained):
        if k > 20:
            raise UserError(f"k = {k}: at most 20")
        allowed = self.items.subset(only) if isinstance(only, list) else only
        left_out = {self.items.index(item) for item in [*history, *exclude]}
        if not untrained:
            left_out |= set(range(TRAINED, ITEMS))
        return SimpleNamespace(
            last=self.items.index(history[-1]), k=k, allowed=allowed, left_out=left_out
        )

    def answer(self, queries):
        if self.fails:
            raise RuntimeError("no memory at machine seven")
        time.sleep(self.seconds)
        self.batches.append(len(queries))
        return [self._answer(query) for query in queries]

    def _answer(self, query):
        order = [(query.last + step) % ITEMS for step in range(1, ITEMS + 1)]
        fit = [n for n in order if query.allowed is None or query.allowed[n]]
        chosen = [n for n in fit if n not in query.left_out][: query.k]
        return [_Item(str(n), f"raw{n}", f"title {n}", 0.5, -0.7, n >= TRAINED) for n in chosen]


class _Item(SimpleNamespace):
    def __init__(self, id, raw_id, title, score, log_prob, untrained):
        super().__init__(
            id=id, raw_id=raw_id, title=title, score=score, log_prob=log_prob, untrained=untrained
        )

    def _asdict(self):
        return vars(self)


@contextlib.contextmanager
def running(app, until="/ready", **of_server):
    """Runs an application until the end of the block; yields the port and the server.

    `until`: the path that answers 200 before the block begins.
    """
    server = make_server(app, log_level="critical", **of_server)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            port = listening.getsockname()[1]
            while ask(port, until, method="GET")[0] != 200:
                time.sleep(0.01)
            yield port, server
        finally:
            server.should_exit = True
            thread.join()


def ask(port, path, body=None, *, method="POST", headers=()):
    """(status, the body as JSON or bytes, headers)"""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection.request(method, path, content, {"Content-Type": "application/json", **dict(headers)})
    response = connection.getresponse()
    raw = response.read()
    connection.close()
    is_json = response.headers.get("Content-Type") == "application/json"
    return response.status, _strictly(raw) if is_json else raw, response.headers


def _strictly(raw):
    """A value of JSON, which has no NaN but in Python."""

    def refuse(constant):
        raise AssertionError(f"{constant} in {raw}")

    return json.loads(raw, parse_constant=refuse)
