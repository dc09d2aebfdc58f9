"""Digests by which a file that is read back is known to be as it was written."""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from etils import epath

from recalign.errors import UserError

DIGEST = "sha256"
DIGITS_OF_A_LINE = 16
"""Of the digest of an object that is one of many in a file."""
_LIKE_A_SEAL = re.compile(r"# sha|256 of|lines above|[0-9a-f]{20}")
_SEAL = re.compile(r"# sha256 of the lines above: ([0-9a-f]{64})\n?\Z")


def digest_of(content: bytes) -> str:
    """The SHA-256 digest, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def digest_of_json(value: Any) -> str:
    """Of a value of JSON, however it is laid out."""
    return digest_of(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def sealed(value: Mapping[str, Any], length: int = 64) -> dict[str, Any]:
    """The object with the digest of its other fields as its last one."""
    rest = {name: field for name, field in value.items() if name != DIGEST}
    return {**rest, DIGEST: digest_of_json(rest)[:length]}


def is_sealed(value: Any) -> bool:
    """Whether an object has a digest and is as it was when it was sealed."""
    if not isinstance(value, Mapping) or not isinstance(value.get(DIGEST), str):
        return False
    found = value[DIGEST]
    try:
        return len(found) >= 16 and sealed(value, len(found))[DIGEST] == found
    except (ValueError, RecursionError):
        return False


def has_digests(lines: Iterable[bytes]) -> bool:
    """Whether any object of a file of lines holds a digest: then all have to."""
    return any(f'"{DIGEST}":'.encode() in line for line in lines)


def record_of(line: bytes, need_digest: bool) -> dict[str, Any] | None:
    """The object of a line; None where it is damaged."""
    try:
        value = json.loads(line.decode())  # of bytes alone it would guess at other encodings
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or (need_digest and not is_sealed(value)):
        return None
    return value


def read_text(path: epath.Path) -> str:
    """The text of a file; a UserError where it cannot be read, or is no UTF-8."""
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: damaged: no UTF-8 at byte {error.start:,}") from error


def parse_json(text: str | bytes, name: str) -> Any:
    """A value of JSON; a UserError where it is none, or nested too deep to be read."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        said = str(error).splitlines()[0]
        raise UserError(f"{name}: not JSON ({said})") from error


def read_json(path: epath.Path) -> Any:
    """A JSON file's value; a UserError where it is none."""
    return parse_json(read_text(path), str(path))


def sealed_json(value: Mapping[str, Any]) -> str:
    """The text of a file that holds an object and its digest."""
    return json.dumps(sealed(value), indent=2) + "\n"


def read_sealed(path: epath.Path) -> Mapping[str, Any]:
    """The object of a file that `sealed_json` made; a UserError if it is not as it was sealed."""
    value = read_json(path)
    if not is_sealed(value):
        raise UserError(f"{path}: damaged: not as it was written")
    return value


def sealed_text(text: str) -> str:
    """A text of whole lines with its digest in a comment as the last one."""
    return f"{text}# sha256 of the lines above: {digest_of(text.encode())}\n"


def unsealed_text(path: epath.Path) -> str:
    """The text without its seal, one that never had a seal as it is; a UserError where it is not as
    it was sealed."""
    text = read_text(path)
    seal = _SEAL.search(text)
    last = (text.splitlines() or [""])[-1]
    if seal is None and not _LIKE_A_SEAL.search(last):
        return text
    if seal is None or digest_of(text[: seal.start()].encode()) != seal[1]:
        raise UserError(
            f"{path}: not as it was written: damaged, or changed by hand; whoever means the change"
            " takes its last line out"
        )
    return text[: seal.start()]


def without_nan(value: Any) -> Any:
    """Nested mappings for JSON, which has no NaN: a metric that could not be computed is null."""
    if isinstance(value, Mapping):
        return {name: without_nan(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
