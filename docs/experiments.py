"""Prints the table of all experiments, read from their files.

.venv/bin/python docs/experiments.py >docs/experiments.md
"""

import pathlib
import re
from typing import NamedTuple

from recalign.trainer.experiment import load_experiment

ROOT = pathlib.Path(__file__).resolve().parent.parent
INTRODUCTION = """# Experiments

Made from the files in `gin/` by `.venv/bin/python docs/experiments.py >docs/experiments.md`. Each
file opens with its command lines, for recalign's own engine and for T5X. "To reach" are the paper's
figures on the test split where it has them, else a bar of our own; they are aims, not results.
Where rows are packed, "examples" are what a step's rows hold on average on the log that the file
names.
"""
REQUIRED = [
    "MIXTURE_OR_TASK_NAME = 'any'", "VOCAB_SIZE = 44_032", "INITIAL_CHECKPOINT_PATH = ''",
]  # fmt: skip
"""What files for a log of one's own leave open."""

COLUMNS = ("experiment", "what it is", "steps × examples", "tokens in, out", "to reach", "hardware")


class Head(NamedTuple):
    """What the comment at the top of an experiment says."""

    what: str
    reach: tuple[str, ...]
    hardware: str
    examples: str | None  # that a step holds, where its rows are packed


def head_of(text: str) -> Head:
    """Reads the comment at the top of an experiment: first sentences, and lines of figures."""
    lines = [line[2:] for line in text.partition("\ninclude")[0].splitlines()]
    start = next(n for n, line in enumerate(lines) if line.startswith("To reach"))
    stop = next(n for n, line in enumerate(lines) if line.startswith("Hardware: "))
    figures = [line.split("  ") for line in lines[start:stop] if line.startswith("  ")]
    reach = tuple(_figures([part.strip() for part in line if part]) for line in figures)
    aim = " ".join(lines[start:stop]).partition(": ")[2]
    hardware = " ".join([*lines[stop:], ""]).partition(": ")[2]
    planned = _first_sentence(hardware).removeprefix("the paper does not say; planned for ")
    held = re.search(r"^A step: .* rows; on \w+ they hold (\S+) examples", "\n".join(lines), re.M)
    return Head(
        what=_first_sentence(" ".join(lines)),
        reach=reach or (_first_sentence(aim),),
        hardware=planned,
        examples=held and held[1],
    )


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].strip().removesuffix(".")


def _figures(parts: list[str]) -> str:
    task, *values = parts
    return f"{task}: {', '.join(values)}" if values else task


def row_of(name: str) -> tuple[str, ...]:
    """The table's cells for an experiment's file; its name is relative to the repository's root."""
    own = REQUIRED if name.startswith("gin/own") else []
    made = load_experiment([name], ["MODEL_DIR = 'any'", *own])
    head = head_of((ROOT / name).read_text())
    steps = made.train_steps - made.initial_step
    lengths = made.task_feature_lengths
    batch = f"{head.examples} in {made.batch_size} rows" if made.pack else made.batch_size
    return (
        f"[{name.removeprefix('gin/')}](../{name})",
        head.what,
        f"{steps:,} × {batch}" if steps else "none",
        f"{lengths['inputs']}, {lengths['targets']}",
        "<br>".join(head.reach),
        head.hardware,
    )


def table() -> str:
    """The whole page."""
    paths = [
        path for some in ("*", "own/*", "base/*") for path in sorted(ROOT.glob(f"gin/{some}.gin"))
    ]
    rows = [COLUMNS, ("---",) * len(COLUMNS)]
    rows += [row_of(str(path.relative_to(ROOT))) for path in paths]
    return "\n".join([INTRODUCTION, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


if __name__ == "__main__":
    print(table(), end="")
