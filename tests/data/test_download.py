"""Against a server on this machine that cuts connections, lies and changes its mind."""

import gzip
import hashlib
import http.server
import json
import random
import threading

import pytest

from recalign.data.download import download
from recalign.errors import UserError

CONTENT = gzip.compress(random.Random(0).randbytes(3_000_000))


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` at every path; attributes say how badly."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.cut_after = []  # Bytes to send before cutting the connection, a request each.
        self.statuses = []  # Error statuses to answer with first.
        self.declared = None  # A Content-Length that is a lie.
        self.ranges = True
        self.etag = '"one"'
        self.requests = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/reviews.json.gz"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.requests.append(wanted)
        if len(server.requests) > 50:
            self.close_connection = True
            return
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        start = 0
        if wanted and server.ranges and self.headers.get("If-Range") in (None, server.etag):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(server.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(server.content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            end = len(server.content)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
        else:
            self.send_response(200)
        body = server.content[start:]
        self.send_header("Content-Length", str(server.declared or len(body)))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        if server.cut_after:
            body = body[: server.cut_after.pop(0)]
            self.close_connection = True
        self.wfile.write(body)


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetch(server, path, **settings):
    return download(server.url, path, **{"pause": 0.0, "timeout": 5.0, "attempts": 3, **settings})


def test_a_file_is_fetched_once_and_recorded(server, tmp_path):
    path = fetch(server, tmp_path / "sub" / "reviews.json.gz")
    assert path.read_bytes() == CONTENT
    assert json.loads((tmp_path / "sub" / "reviews.json.gz.record.json").read_text()) == {
        "url": server.url,
        "bytes": len(CONTENT),
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
    }
    fetch(server, path)
    assert len(server.requests) == 1
    names = sorted(file.name for file in path.parent.iterdir())
    assert names == ["reviews.json.gz", "reviews.json.gz.record.json"]


def test_a_file_is_on_disk_before_it_has_its_name(server, tmp_path, on_disk):
    path = fetch(server, tmp_path / "f.gz")
    assert on_disk == [("fsync", f"{path}.part"), ("rename", f"{path}.part", str(path))]


def test_a_cut_connection_is_resumed_where_it_broke(server, tmp_path):
    server.cut_after = [1_000_000, 500_000]
    assert fetch(server, tmp_path / "f.gz").read_bytes() == CONTENT
    assert server.requests == [None, "bytes=1000000-", "bytes=1500000-"]


def test_more_cuts_than_attempts_are_fine_as_long_as_each_brings_something(server, tmp_path):
    server.cut_after = [300_000] * 8
    assert fetch(server, tmp_path / "f.gz").read_bytes() == CONTENT


def test_a_later_run_goes_on(server, tmp_path):
    server.cut_after = [1_000_000, 0, 0, 0, 0]
    with pytest.raises(UserError, match=r"3 attempts in a row.*1,000,000 bytes are kept"):
        fetch(server, tmp_path / "f.gz")
    assert not (tmp_path / "f.gz").exists()
    server.cut_after = []
    server.requests.clear()
    assert fetch(server, tmp_path / "f.gz").read_bytes() == CONTENT
    assert server.requests == ["bytes=1000000-"]


def test_a_server_that_cannot_resume_sends_the_whole(server, tmp_path):
    server.ranges = False
    server.cut_after = [1_000_000]
    assert fetch(server, tmp_path / "f.gz").read_bytes() == CONTENT
    assert server.requests == [None, "bytes=1000000-"]


def test_a_file_that_changed_between_is_fetched_anew(server, tmp_path):
    server.cut_after = [1_000_000, 0, 0, 0]
    with pytest.raises(UserError):
        fetch(server, tmp_path / "f.gz")
    server.content, server.etag, server.cut_after = gzip.compress(b"new" * 1000), '"two"', []
    assert fetch(server, tmp_path / "f.gz").read_bytes() == server.content


def test_a_finished_part_is_not_fetched_again(server, tmp_path):
    (tmp_path / "f.gz.part").write_bytes(CONTENT)
    (tmp_path / "f.gz.part.validator").write_text(server.etag)
    assert fetch(server, tmp_path / "f.gz").read_bytes() == CONTENT
    assert server.requests == [f"bytes={len(CONTENT)}-"]


def test_a_length_that_is_too_long_ends_in_an_error(server, tmp_path):
    server.declared = len(CONTENT) + 10
    server.ranges = False
    with pytest.raises(UserError, match=r"broken off after .* bytes"):
        fetch(server, tmp_path / "f.gz")
    assert not (tmp_path / "f.gz").exists()
    assert len(server.requests) <= 5


def test_a_length_that_is_too_short_is_noticed(server, tmp_path):
    server.declared = len(CONTENT) - 1000
    with pytest.raises(UserError, match="not a whole gzip file"):
        fetch(server, tmp_path / "f.gz")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_checksum_is_refused_and_nothing_is_kept(server, tmp_path):
    with pytest.raises(UserError, match=r"SHA-256 \w{64} is not 00 \(the published checksum\)"):
        fetch(server, tmp_path / "f.gz", sha256="00")
    assert list(tmp_path.iterdir()) == []
    right = hashlib.sha256(CONTENT).hexdigest()
    assert fetch(server, tmp_path / "f.gz", sha256=right).exists()


def test_the_first_downloads_checksum_holds_from_then_on(server, tmp_path):
    path = fetch(server, tmp_path / "f.gz")
    path.write_bytes(gzip.compress(b"tampered"))
    with pytest.raises(UserError, match=r"is not \w{64} \(the first download's"):
        fetch(server, path)
    path.unlink()
    server.content = gzip.compress(b"another file")
    with pytest.raises(UserError, match="the first download's"):
        fetch(server, path)
    server.content = CONTENT
    assert fetch(server, path).read_bytes() == CONTENT


def test_passing_trouble_is_waited_out_and_refusal_is_not(server, tmp_path):
    server.statuses = [503, 429]
    assert fetch(server, tmp_path / "f.gz").read_bytes() == CONTENT
    server.statuses = [404]
    server.requests.clear()
    with pytest.raises(UserError, match="HTTP 404"):
        fetch(server, tmp_path / "g.gz")
    assert len(server.requests) == 1


def test_nobody_there(server, tmp_path):
    url = server.url.replace(str(server.server_port), "1")
    with pytest.raises(UserError, match=r"refused.*2 attempts in a row brought nothing"):
        download(url, tmp_path / "f.gz", pause=0.0, attempts=2)


def test_nowhere_to_write(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="File exists|Not a directory"):
        fetch(server, tmp_path / "file" / "f.gz")
