"""Flags that several verbs have, and the types of their values."""

from __future__ import annotations

import argparse
import math
from typing import NoReturn


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


def max_examples(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max_examples",
        type=positive,
        metavar="N",
        help="evaluate only the first N examples of each task",
    )


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


def count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 up")
    return int(text)


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)


def fraction(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1")
    return number


def number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return number


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
