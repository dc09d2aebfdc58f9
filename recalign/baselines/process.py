"""Asks a question of a library's process and reads its answer."""

import os
import pathlib
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence

from recalign.baselines.drivers.exchange import Answer, Question
from recalign.errors import UserError

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

_DRIVERS = pathlib.Path(__file__).parent / "drivers"

# glibc gives freed blocks of more than 32 MB back to the system and asks for them anew at every
# step, which took a quarter of the time of a training step on a CPU.
_ALLOCATION = {"MALLOC_MMAP_THRESHOLD_": str(4 << 30), "MALLOC_TRIM_THRESHOLD_": str(16 << 30)}


def driver_of(library: str) -> pathlib.Path:
    """The program that asks a library."""
    return _DRIVERS / f"{library.lower()}_driver.py"


def ask(
    question: Question, command: Sequence[str | os.PathLike], say: Callable[[str], None]
) -> Answer:
    """Runs a driver's command on a question; each line that it prints is passed on to `say`.

    A UserError where the process fails, or its answer has not the form that was asked for.
    """
    with tempfile.TemporaryDirectory(prefix="recalign-") as name:
        folder = pathlib.Path(name)
        question.write(folder)
        last = ""
        process = subprocess.Popen(
            [*command, folder],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=_environment(os.environ),
        )
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if text := _COLOUR.sub("", line).strip():
                    last = text
                    say(f"  {last}")
        except BaseException:
            process.kill()
            raise
        finally:
            status = process.wait()
        if status:
            raise UserError(f"{question.model}: its process ended with {status}: {last}")
        try:
            answer = Answer.read(folder)
            _check(question, answer)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"{question.model}: no usable answer: {error}") from error
        return answer


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Ours, without what would lead another Python to our packages."""
    kept = {name: value for name, value in ours.items() if not name.startswith("PYTHON")}
    return {**_ALLOCATION, **kept, "PYTHONWARNINGS": "ignore", "PYTHONUNBUFFERED": "1"}


def _check(question: Question, answer: Answer) -> None:
    """Raises ValueError."""
    shape = (len(question.test_users),)
    if question.rates:
        wanted = {"scores": (answer.scores, shape)}
    else:
        wanted = {
            "ranks": (answer.ranks, shape),
            "pool_scores": (answer.pool_scores, question.pools.shape),
        }
    for name, (values, expected) in wanted.items():
        if values.shape != expected:
            raise ValueError(f"{name} of shape {values.shape}, not {expected}")
    if not all(bool((values == values).all()) for values, _ in wanted.values()):
        raise ValueError("scores that are no numbers")
    if not question.rates and not ((answer.ranks >= 0) & (answer.ranks < question.num_items)).all():
        raise ValueError("ranks that no item can have")
