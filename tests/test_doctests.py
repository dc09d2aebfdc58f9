"""The examples in docstrings, of every module that has one."""

import doctest
import importlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


def modules_with_examples() -> list[str]:
    """Found by their text, so that a new one cannot be forgotten."""
    files = [file for room in ("recalign", "tasks") for file in (ROOT / room).rglob("*.py")]
    with_examples = [file for file in files if ">>> " in file.read_text()]
    return sorted(".".join(f.relative_to(ROOT).with_suffix("").parts) for f in with_examples)


@pytest.mark.parametrize("module", modules_with_examples())
def test_examples_of(module):
    failed, tried = doctest.testmod(importlib.import_module(module))
    # A module whose examples doctest does not see shows a reader what nobody has run.
    assert tried and not failed


def test_they_are_found():
    assert {"recalign.metrics", "recalign.data.text"} <= set(modules_with_examples())
