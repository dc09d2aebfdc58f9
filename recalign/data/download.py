"""Downloads that resume, retry, and are checked before they count."""

import gzip
import hashlib
import http.client
import json
import os
import pathlib
import sys
import time
import urllib.error
import urllib.request
import zlib

import tqdm
from etils import epath

from recalign.data.atomic import to_disk
from recalign.errors import UserError

_CHUNK = 2**20
_USER_AGENT = "recalign"
_OF_NETWORK = (urllib.error.URLError, ConnectionError, TimeoutError)


class _Interrupted(Exception):
    """The transfer ended early; what came stays, and the next attempt goes on from there."""


def download(
    url: str,
    destination: str | os.PathLike,
    *,
    sha256: str | None = None,
    attempts: int = 5,
    timeout: float = 60.0,
    pause: float = 1.0,
) -> pathlib.Path:
    """Fetches a file unless it is there, and checks it either way.

    A transfer that breaks off is resumed by HTTP range requests, also by a later call; a server
    that cannot resume, or whose file has changed, is asked for the whole. The file gets its name
    when it is complete: as long as the server said, a whole gzip file where its name says so, and
    of the checksum `sha256`. Where no checksum is known, that of the first download is recorded in
    `<destination>.record.json`, and every later use and download of the file is held against it:
    this notices a change, but cannot tell whether the first download was the true one. After an
    error (UserError) what came of an interrupted transfer stays for the next call.

    Args:
        url: http or https.
        destination: a local path.
        sha256: the expected checksum, in hexadecimal.
        attempts: how many transfers in a row may bring nothing.
        timeout: seconds without an answer that end an attempt.
        pause: seconds before the second attempt; doubled before each further one.
    """
    destination = pathlib.Path(destination)
    part = _beside(destination, ".part")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        if not destination.exists():
            _fetch_with_retries(url, part, attempts, timeout, pause)
            try:
                _check(part, url, _expected(destination, sha256))
            except UserError:
                part.unlink()
                raise
            finally:
                _beside(part, ".validator").unlink(missing_ok=True)
            to_disk(epath.Path(part))
            part.replace(destination)
        else:
            _check(destination, url, _expected(destination, sha256))
        _record(destination, url)
    except OSError as error:
        raise UserError(f"{destination}: {error.strerror or error}") from error
    return destination


def _beside(path: pathlib.Path, ending: str) -> pathlib.Path:
    return path.with_name(path.name + ending)


def _expected(destination: pathlib.Path, sha256: str | None) -> tuple[str, str] | None:
    """The checksum to hold the file against and where it is from, or None where none is known."""
    if sha256 is not None:
        return sha256, "the published checksum"
    record = _beside(destination, ".record.json")
    if not record.exists():
        return None
    try:
        return json.loads(record.read_text())["sha256"], f"the first download's, in {record}"
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{record}: damaged: remove it to download again") from error


def _record(destination: pathlib.Path, url: str) -> None:
    record = _beside(destination, ".record.json")
    if not record.exists():
        size, digest = destination.stat().st_size, _digest(destination)
        content = {"url": url, "bytes": size, "sha256": digest}
        record.write_text(json.dumps(content, indent=2) + "\n")


def _digest(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(path: pathlib.Path, url: str, expected: tuple[str, str] | None) -> None:
    if expected is not None:
        digest = _digest(path)
        if digest != expected[0]:
            raise UserError(
                f"{path} ({url}): SHA-256 {digest} is not {expected[0]} ({expected[1]}):"
                " remove the file and download it again"
            )
    elif url.endswith(".gz"):
        try:
            with gzip.open(path) as file:
                while file.read(_CHUNK):
                    pass
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(f"{url}: not a whole gzip file ({error})") from error


def _fetch_with_retries(
    url: str, part: pathlib.Path, attempts: int, timeout: float, pause: float
) -> None:
    vain = 0
    while True:
        before = _size(part)
        try:
            _fetch(url, part, timeout)
            return
        except (_Interrupted, OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and not isinstance(error, _OF_NETWORK):
                raise  # of the disk
            vain = 0 if _size(part) > before else vain + 1
            if vain >= attempts:
                reason = getattr(error, "reason", None) or str(error) or type(error).__name__
                raise UserError(
                    f"{url}: {reason} ({attempts} attempts in a row brought nothing;"
                    f" {_size(part):,} bytes are kept, and the next run goes on from there)"
                ) from error
            wait = pause * 2**vain
            tqdm.tqdm.write(
                f"{url}: {getattr(error, 'reason', None) or error}; again in {wait:g} s",
                file=sys.stderr,
            )
            time.sleep(wait)


def _size(path: pathlib.Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _fetch(url: str, part: pathlib.Path, timeout: float) -> None:
    """One transfer, from where the last one ended.

    Raises:
        _Interrupted: it ended early.
        UserError: the server refuses for good.
        OSError, http.client.HTTPException: the network or the disk failed.
    """
    offset = _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": _USER_AGENT})
    if offset:
        request.add_header("Range", f"bytes={offset}-")
        if _beside(part, ".validator").exists():
            request.add_header("If-Range", _beside(part, ".validator").read_text())
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            _receive(response, part, offset)
    except urllib.error.HTTPError as error:
        if error.code == 416 and offset:
            # Nothing is left to send; or the file is another one by now.
            if error.headers.get("Content-Range") == f"bytes */{offset}":
                return
            part.unlink()
            raise _Interrupted("the server's file has changed") from error
        if error.code in (408, 429) or error.code >= 500:
            raise _Interrupted(f"HTTP {error.code} {error.reason}") from error
        raise UserError(f"{url}: HTTP {error.code} {error.reason}") from error


def _receive(response: http.client.HTTPResponse, part: pathlib.Path, offset: int) -> None:
    resumed = response.status == 206 and offset > 0
    if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
        part.unlink()
        raise _Interrupted("the server resumed at the wrong place")
    validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
    if validator and not validator.startswith("W/"):
        _beside(part, ".validator").write_text(validator)
    length = response.headers.get("Content-Length")
    start = offset if resumed else 0
    total = start + int(length) if length and length.isdigit() else None
    with (
        part.open("ab" if resumed else "wb") as file,
        tqdm.tqdm(
            total=total, initial=start, unit="B", unit_scale=True, desc=part.stem, disable=None
        ) as bar,
    ):
        while chunk := response.read(_CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
    received = _size(part)
    if total is not None and received != total:
        raise _Interrupted(f"broken off after {received:,} of {total:,} bytes")
