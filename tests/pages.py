"""README and the pages of docs/: their links, what stands in code, and their commands."""

import os
import pathlib
import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "WORKSPACE.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_HERE_DOCUMENT = re.compile(r"^cat >(\S+) <<'END'\n(.*?)^END\n", re.DOTALL | re.MULTILINE)


class Script(NamedTuple):
    """A block of shell: the files that it writes, and the words of its commands."""

    files: dict[str, str]
    commands: list[list[str]]


def name_of(page: pathlib.Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: pathlib.Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return [text for said, text in _FENCED.findall(page.read_text()) if said == language]


def prose(page: pathlib.Path) -> str:
    """The page without its fenced blocks."""
    return _FENCED.sub("", page.read_text())


def inline_code(page: pathlib.Path) -> list[str]:
    """What stands between single backticks, a line break as a space."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(page))]


def links(page: pathlib.Path) -> Iterator[tuple[str, pathlib.Path, str]]:
    """Every relative link: as written, the file that it names, and the part of the page."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" not in target:
            name, _, anchor = target.partition("#")
            file = pathlib.Path(os.path.normpath(page.parent / name)) if name else page
            yield target, file, anchor


def script(block: str) -> Script:
    """Reads a block: lines that go on are joined, comments, `&` and `.venv/bin/` left out."""
    files = dict(_HERE_DOCUMENT.findall(block))
    lines = _HERE_DOCUMENT.sub("", block).replace("\\\n", " ").splitlines()
    read = [shlex.split(line.removesuffix("&"), comments=True) for line in lines]
    return Script(files, [[w[0].removeprefix(".venv/bin/"), *w[1:]] for w in read if w])
