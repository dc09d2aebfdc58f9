"""Flags that several verbs have, and the types of their values."""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeVar

N = TypeVar("N", int, float)


def data_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data_dir",
        "--tfds_data_dir",
        metavar="DIR",
        help="folder of the prepared datasets (default: data)",
    )


def seed(parser: argparse.ArgumentParser) -> None:
    """The seed of every random choice."""
    parser.add_argument(
        "--seed", type=count, default=0, help="seed of every random choice (default: 0)"
    )


def add(group: Any, *rows: tuple) -> None:
    """Flags: (name, stands for the value, its type or choices, help); a switch is (name, help)."""
    for flag, *value, told in rows:
        if not value:
            group.add_argument(flag, action="store_true", help=told)
        elif isinstance(value[1], tuple):
            group.add_argument(flag, choices=value[1], help=told)
        else:
            group.add_argument(flag, metavar=value[0], type=value[1], help=told)


def given(options: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Of these arguments, those that the command line has."""
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def columns(group: Any, roles: Iterable[str], which: str) -> None:
    for role in roles:
        group.add_argument(f"--{role}_column", metavar="COLUMN", help=f"{which} with the {role}")


def columns_of(options: argparse.Namespace, roles: Iterable[str]) -> dict[str, str]:
    """Of each role that the command line names a column for, the column."""
    found = given(options, [f"{role}_column" for role in roles])
    return {name.removesuffix("_column"): column for name, column in found.items()}


def gin(
    parser: argparse.ArgumentParser, *, required: bool = True, what: str = "the experiment's file"
) -> None:
    """The experiment; optional where it only says how long histories and how large pools are."""
    parser.add_argument(
        "--gin_file",
        dest="gin_files",
        action="append",
        required=required,
        default=None if required else [],
        metavar="FILE",
        help=f"{what}; give the flag again for more files, of which a later one wins",
    )
    parser.add_argument(
        "--gin.NAME",
        dest="gin_bindings",
        action=_GinWithoutValue,
        default=[],
        metavar="VALUE",
        help="override a macro or setting of the file, as in --gin.TRAIN_STEPS=500",
    )
    parser.add_argument(
        "--gin_search_paths",
        type=lambda text: text.split(","),
        default=[],
        metavar="DIR,…",
        help="more folders in which to look for included files",
    )
    data_dir(parser)


class _GinWithoutValue(argparse.Action):
    """Stands for `--gin.NAME=VALUE` in the help; what is well formed never gets here."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> NoReturn:
        parser.error("a binding is written --gin.NAME=VALUE, with a name, in one argument")


def _parser(read: Callable[[str], N], holds: Callable[[N], bool], what: str) -> Callable[[str], N]:
    def parsed(text: str) -> N:
        with contextlib.suppress(ValueError):
            if holds(number := read(text)):
                return number
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")

    return parsed


def _whole(text: str) -> int:
    return int(text) if text.isdecimal() else -1


count = _parser(_whole, lambda number: number >= 0, "a whole number from 0 up")
positive = _parser(_whole, lambda number: number >= 1, "a whole number from 1 up")
fraction = _parser(float, lambda number: 0 <= number <= 1, "a number between 0 and 1")
number = _parser(float, math.isfinite, "a number")


def checkpoint(text: str) -> str:
    if text not in ("best", "last") and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is neither best, last nor a step")
    return text


def ids(text: str) -> list[str]:
    ids = [part.strip() for part in text.split(",") if part.strip()]
    if not ids:
        raise argparse.ArgumentTypeError("it names nothing")
    return ids


def shard(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and int(number) < int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is not NUMBER/COUNT, as 0/4 to 3/4")
    return int(number), int(count)
