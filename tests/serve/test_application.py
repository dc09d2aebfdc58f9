"""The endpoints over a stand-in for a recommender: what is said, bounded, refused and survived."""

import concurrent.futures
import json
import random
import socket
import threading
import time

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from recalign.errors import UserError
from recalign.serve.application import Limits, make_app
from recalign.serve.subsets import read_subsets
from tests.serve.running import StandIn, ask, running

MALFORMED = 10_000
HEAD = b"POST /recommend HTTP/1.1\r\nHost: x\r\n"
# JSON, as Python reads it.
ODD = ["null", "[]", "{}", "-1", "1" + "0" * 400, r'"\ud800"', r'{"\ud800": 1}', '""', "true"]
ODD += ["1e308", "1e999", "-Infinity", "NaN", '{"history": [1]}', f"[{', '.join(['[]'] * 50)}]"]
ODD += ["[" * depth + "]" * depth for depth in (30, 300, 900)]
SUBSETS = {"in_stock": ["3", "9", "12"]}


@pytest.fixture(scope="module")
def stand_in():
    return StandIn()


@pytest.fixture(scope="module")
def port(stand_in):
    limits = Limits(most_bytes=4_096, longest_body_s=0.5)
    with running(make_app(stand_in, k=2, subsets=SUBSETS, limits=limits)) as (port, _):
        yield port


def ids(answer):
    return [item["id"] for item in answer["items"]]


def test_one_history(port):
    status, answer, _ = ask(port, "/recommend", {"history": ["1", 4]})
    assert status == 200
    item = {"id": "5", "raw_id": "raw5", "title": "title 5", "score": 0.5, "log_prob": -0.7,
            "untrained": False}  # fmt: skip
    assert answer == {"items": [item, item | {"id": "6", "raw_id": "raw6", "title": "title 6"}],
                      "user": None}  # fmt: skip


def test_what_a_request_may_say(port):
    asked = {"history": [4], "k": 3, "exclude": ["5"], "user": {"name": "Ada"}}
    _, answer, _ = ask(port, "/recommend", asked)
    assert (ids(answer), answer["user"]) == (["6", "7", "8"], {"name": "Ada"})
    deep = json.loads("[" * 31 + '{"name": ["\u00e9", 1e308, null]}' + "]" * 31)[0]
    _, answer, _ = ask(port, "/recommend", {"history": [4], "user": deep})
    assert answer["user"] == deep
    _, answer, _ = ask(port, "/recommend", {"history": [4], "k": 9, "only": "in_stock"})
    assert ids(answer) == ["9", "12", "3"]
    _, answer, _ = ask(port, "/recommend", {"history": [4], "only": [2, "4"]})
    assert ids(answer) == ["2"]
    _, answer, _ = ask(port, "/recommend", {"history": [26], "k": 3})
    assert [(it["id"], it["untrained"]) for it in answer["items"]] == [
        ("27", False), ("28", True), ("29", True),
    ]  # fmt: skip
    _, answer, _ = ask(port, "/recommend", {"history": [26], "k": 3, "untrained": False})
    assert ids(answer) == ["27", "0", "1"]


def test_several_histories(port):
    asked = {"requests": [{"history": [4], "k": 1}, {"history": [28], "user": "u"}]}
    status, answers, _ = ask(port, "/recommend", asked)
    assert status == 200
    assert [ids(answer) for answer in answers["answers"]] == [["5"], ["29", "0"]]
    assert answers["answers"][1]["user"] == "u"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "Field required"),
        (b"{", "JSON decode error"),
        (b"[" * 2_000, "body"),
        ([1], "object"),
        ({}, "history: Field required"),
        ({"history": []}, "history: List should have at least 1 item"),
        ({"history": [1.5]}, "history.0: "),
        ({"history": [4], "k": 0}, "k: Input should be greater than or equal to 1"),
        ({"history": [4], "k": True}, "k: "),
        ({"history": [4], "k": 21}, "k = 21: at most 20"),
        ({"history": ["x"]}, "no item 'x'"),
        ({"history": [4], "only": "sold_out"}, "no subset 'sold_out'; there are in_stock"),
        ({"history": [4], "only": []}, "only: "),
        ({"history": [4], "onyl": [3]}, "onyl"),
        ({"requests": [{"history": [4]}, {"history": ["x"]}]}, "requests[1]: no item 'x'"),
        ({"requests": []}, "requests: "),
        ({"history": [4], "untrained": 1}, "untrained: "),
        ({"history": [4], "user": "\ud800"}, "user: no JSON"),
        ({"history": [4], "user": {"\ud800": 1}}, "user: no JSON"),
        ({"history": [4], "user": [float("nan")]}, "user: no JSON"),
        (b'{"history": [4], "user": {"age": -1e999}}', "user: no JSON"),
        ({"history": [4, float("nan")]}, "history.1: "),
        (b'{"history": [4], "k": 1e999}', "k: "),
        ({"history": [4], "exclude": [float("inf")]}, "exclude.0: "),
        (b'{"history": [4], "user": %b}' % (b"[" * 900 + b"1" + b"]" * 900), "user: nested more"),
        (
            b'{"requests": [{"history": [4], "user": %b}]}' % (b"[" * 33 + b"1" + b"]" * 33),
            "user: ",
        ),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(port, body, told):
    status, answer, headers = ask(port, "/recommend", body)
    assert status == 400
    assert headers["Content-Type"] == "application/json"
    assert list(answer) == ["error"]
    if told != "onyl":
        assert told in answer["error"]
    assert "\n" not in answer["error"]


def test_bodies_are_bounded_in_size_and_time(port):
    status, answer, _ = ask(port, "/recommend", b'{"history": [' + b"1," * 3_000 + b"1]}")
    assert (status, answer) == (413, {"error": "a body of more than 4,096 bytes"})
    with socket.create_connection(("127.0.0.1", port)) as connection:  # says no length
        connection.sendall(
            b"POST /recommend HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(5):
            connection.sendall(b"400\r\n" + b"1" * 1024 + b"\r\n")
        assert connection.recv(2_000).startswith(b"HTTP/1.1 413 ")
    with socket.create_connection(("127.0.0.1", port)) as connection:  # and never ends
        connection.sendall(HEAD + b"Content-Length: 99\r\n\r\n{")
        received = b"".join(iter(lambda: connection.recv(2_000), b""))  # until it is closed
        assert received.startswith(b"HTTP/1.1 408 ") and b"longer than 0.5 s" in received


def test_clients_that_leave_do_no_harm(port):
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(HEAD + b"Content-Length: 16\r\n\r\n")
            connection.sendall(b'{"history": [4]}')
    assert ask(port, "/recommend", {"history": [4]})[0] == 200


def test_a_body_is_dropped_whose_client_leaves_before_its_end():
    stand_in = StandIn()
    with running(make_app(stand_in)) as (port, _):
        for end in (b"Content-Length: 17\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n10\r\n"):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(HEAD + b"Content-Type: application/json\r\n" + end)
                connection.sendall(b'{"history": [4]}')
                time.sleep(0.05)  # so that it is read before it is known to be all
        for _ in range(2):
            assert ask(port, "/recommend", {"history": [4]})[0] == 200
        figures = ask(port, "/metrics", method="GET")[1].decode()
    assert sum(stand_in.batches) == 2
    counted = [
        it for it in figures.splitlines() if it.startswith('recalign_responses_total{path="/rec')
    ]
    assert counted == ['recalign_responses_total{path="/recommend",status="200"} 2.0']


def malformed(draw):
    """A request, cut, with other bytes or with other values in it."""
    text = json.dumps({"history": ["1", 4, "29"], "k": 3, "only": ["5"], "user": "Ada"}).encode()
    kind = draw.randrange(5)
    if kind == 0:
        return text[: draw.randrange(len(text))]
    if kind == 1:
        place = draw.randrange(len(text))
        return text[:place] + draw.randbytes(draw.randrange(1, 9)) + text[place + 1 :]
    if kind == 2:
        return draw.randbytes(draw.randrange(300))
    fields = ["history", "k", "only", "exclude", "untrained", "user", "requests"]
    chosen = dict(zip(draw.sample(fields, draw.randrange(1, 5)), draw.sample(ODD, 4), strict=False))
    if kind == 4:
        chosen["history"] = "[1]"  # so that it is the other fields that matter
    return b"{%b}" % ", ".join(f'"{name}": {value}' for name, value in chosen.items()).encode()


def test_malformed_bodies_are_answered_by_json(port):
    draw = random.Random(0)
    bodies = [malformed(draw) for _ in range(MALFORMED)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda body: ask(port, "/recommend", body), bodies))
    statuses = [status for status, _, _ in answers]
    assert set(statuses) <= {200, 400}
    assert statuses.count(400) > 0.9 * MALFORMED
    for status, answer, _ in answers:
        assert list(answer) == (["error"] if status == 400 else ["items", "user"])
    assert ask(port, "/recommend", {"history": [4]})[0] == 200


def test_errors_say_nothing_of_the_machine(stand_in, port):
    stand_in.fails = True
    try:
        status, answer, _ = ask(port, "/recommend", {"history": [4]})
    finally:
        stand_in.fails = False
    assert (status, answer) == (500, {"error": "the request failed"})
    assert ask(port, "/recommend", {"history": [4]})[0] == 200
    assert ask(port, "/nowhere", {})[:2] == (404, {"error": "Not Found"})
    assert ask(port, "/recommend", method="GET")[:2] == (405, {"error": "Method Not Allowed"})


def test_probes_metrics_and_the_description(port):
    assert ask(port, "/health", method="GET")[:2] == (200, {"status": "alive"})
    assert ask(port, "/ready", method="GET")[:2] == (200, {"status": "ready"})
    ask(port, "/recommend", {"history": [4]})
    figures = ask(port, "/metrics", method="GET")[1].decode()
    assert 'recalign_responses_total{path="/recommend",status="200"}' in figures
    assert "recalign_batch_size_count" in figures and "recalign_waiting 0.0" in figures
    paths = ask(port, "/openapi.json", method="GET")[1]["paths"]
    assert set(paths) == {"/recommend", "/health", "/ready", "/metrics"}
    assert b"swagger" in ask(port, "/docs", method="GET")[1]


def test_refusals_are_counted_and_without_the_token_no_body_is_waited_for():
    """Of each status a known number: one 200, 400 and 413, two 401 and 408."""
    limits = Limits(most_bytes=40, longest_body_s=0.3)
    token = [("Authorization", "Bearer secret")]
    with running(make_app(StandIn(), token="secret", limits=limits)) as (port, _):
        for body, headers in (
            ({"history": [4]}, token),
            ({"history": []}, token),
            (b"1" * 41, token),
            ({"history": [4]}, []),
        ):
            ask(port, "/recommend", body, headers=headers)
        authorization = b"Authorization: Bearer secret\r\n"
        for given, told in ((b"", b"401"), (authorization, b"408"), (authorization, b"408")):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(HEAD + given + b"Content-Length: 9\r\n\r\n{")
                assert connection.recv(2_000).startswith(b"HTTP/1.1 " + told)
        figures = ask(port, "/metrics", method="GET")[1].decode()
    for status, count in {200: 1, 400: 1, 401: 2, 408: 2, 413: 1}.items():
        line = f'recalign_responses_total{{path="/recommend",status="{status}"}} {count}.0'
        assert line in figures.splitlines()


def test_what_waits_is_bounded_and_decoded_together():
    """16 clients at once: some wait, the rest are told when to come again."""
    stand_in = StandIn(seconds=0.2)
    limits = Limits(largest_batch=4, most_waiting=6, longest_wait_ms=50)
    with (
        running(make_app(stand_in, limits=limits)) as (port, _),
        concurrent.futures.ThreadPoolExecutor(16) as pool,
    ):
        asked = [pool.submit(ask, port, "/recommend", {"history": [4]}) for _ in range(16)]
        answers = [it.result() for it in asked]
    refused = [headers for status, _, headers in answers if status == 503]
    assert 0 < len(refused) <= 10
    assert all(int(headers["Retry-After"]) >= 1 for headers in refused)
    assert {status for status, _, _ in answers} == {200, 503}
    assert sum(stand_in.batches) == 16 - len(refused)
    assert max(stand_in.batches) == 4


def test_an_end_answers_what_is_there():
    stand_in = StandIn(seconds=0.5)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        with running(make_app(stand_in)) as (port, server):
            asked = [pool.submit(ask, port, "/recommend", {"history": [4]}) for _ in range(3)]
            while not server.server_state.connections:
                time.sleep(0.01)
            time.sleep(0.1)
            server.should_exit = True  # what SIGTERM sets
        assert [it.result()[0] for it in asked] == [200] * 3


def test_until_all_is_compiled_it_is_alive_and_says_that_it_is_starting():
    compiled = threading.Event()

    class Slow(StandIn):
        def warm_up(self, k, *, together, until):
            compiled.wait()
            return 4

    with running(make_app(Slow()), until="/health") as (port, _):
        for path, body, method in (
            ("/ready", None, "GET"),
            ("/recommend", {"history": [4]}, "POST"),
        ):
            status, answer, headers = ask(port, path, body, method=method)
            assert (status, headers["Retry-After"]) == (503, "5")
            assert answer["error"].startswith("the server is starting")
        compiled.set()
        while ask(port, "/ready", method="GET")[0] != 200:
            time.sleep(0.01)
        assert ask(port, "/recommend", {"history": [4]})[0] == 200


def test_an_end_while_it_compiles_waits_for_one_program():
    asked = []

    class Slow(StandIn):
        def warm_up(self, k, *, together, until):
            while not until():
                asked.append(1)
                time.sleep(0.02)
            return 0

    with running(make_app(Slow()), until="/health") as (port, _):
        assert ask(port, "/ready", method="GET")[0] == 503
    assert asked


def test_a_token():
    with running(make_app(StandIn(), token="secret")) as (port, _):
        status, answer, headers = ask(port, "/recommend", {"history": [4]})
        assert (status, answer) == (401, {"error": "a token is needed"})
        assert headers["WWW-Authenticate"] == "Bearer"
        for path in ("/docs", "/openapi.json", "/metrics/", "/nowhere"):
            assert ask(port, path, method="GET")[0] == 401
        for given, expected in (("Bearer secret", 200), ("Bearer secre", 401), ("secret", 401)):
            headers = [("Authorization", given)]
            assert ask(port, "/recommend", {"history": [4]}, headers=headers)[0] == expected
        for path in ("/health", "/ready", "/metrics"):  # what Kubernetes and Prometheus ask for
            assert ask(port, path, method="GET")[0] == 200


def test_subsets_by_http():
    """Made, replaced and removed, all of a body or nothing of it, and only where it is allowed."""
    limits = Limits(posted_subsets=2)
    with running(make_app(StandIn(), k=2, subsets=SUBSETS, limits=limits)) as (port, _):

        def post(**subsets):
            return ask(port, "/subsets", {"subsets": subsets})[:2]

        def found(name):
            status, answer, _ = ask(port, "/recommend", {"history": [4], "only": name})
            return ids(answer) if status == 200 else answer["error"]

        assert post(new=[7, "8", "8"]) == (200, {"subsets": {"in_stock": 3, "new": 2}})
        assert found("new") == ["7", "8"]
        status, answer = post(in_stock=["20"], old=["x"])
        assert (status, answer) == (400, {"error": "subset 'old': no item 'x'"})
        assert found("in_stock") == ["9", "12"]
        status, answer = post(one=["1"], two=["2"])
        assert (status, answer) == (400, {"error": "4 subsets: this server keeps 3"})
        assert found("one") == "only: no subset 'one'; there are in_stock, new"
        assert post(in_stock=[20], new=None, one=[1]) == (
            200, {"subsets": {"in_stock": 1, "one": 1}},
        )  # fmt: skip
        assert found("in_stock") == ["20"]
        for body in ({}, {"subsets": {}}, {"subsets": {"": [1]}}, {"subsets": {"a": []}}):
            assert ask(port, "/subsets", body)[0] == 400
        # A page in a browser may send other types of content to any address, and this one not.
        body = b'{"subsets": {"in_stock": ["1"]}}'
        headers = [("Content-Type", "text/plain")]
        assert ask(port, "/subsets", body, headers=headers)[0] == 400
        assert found("in_stock") == ["20"]


def test_no_subsets_by_http_unless_it_is_allowed(port):
    assert ask(port, "/subsets", {"subsets": {"new": [1]}})[0] == 404


def test_subsets_by_http_want_the_token():
    app = make_app(StandIn(), token="secret", limits=Limits(posted_subsets=1))
    with running(app) as (port, _):
        assert ask(port, "/subsets", {"subsets": {"new": [1]}})[0] == 401
        headers = [("Authorization", "Bearer secret")]
        assert ask(port, "/subsets", {"subsets": {"new": [1]}}, headers=headers)[0] == 200


def test_subsets_are_checked_before_anything_is_served():
    assert read_subsets('{"new": [3, "9"]}', "x") == {"new": ["3", "9"]}
    bad = {"{": "not JSON", "[" * 100_000: "not JSON", "[]": "object", '{"new": 3}': "'new'"}
    for text, told in bad.items():
        with pytest.raises(UserError, match=f"x: .*{told}"):
            read_subsets(text, "x")
    with pytest.raises(UserError, match="subset 'new': no item 'x'"):
        make_app(StandIn(), subsets={"new": ["x"]})
