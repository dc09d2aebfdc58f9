"""From process start to the end of the first training step, beside T5X's, on the demo experiment.

    PYTHONPATH=. python tests/benchmarks/startup.py [--rounds 3] [--t5x_python PYTHON]

Prepares the demo corpus once and starts `recalign train` and `python -m t5x.train` in turn with
gin/ut_at_demo.gin, until either says that its first step is done; the processes are ended there.
T5X writes a checkpoint before its first step, as its finetune.gin has it. Prints one JSON line:
`startup_over_t5x` (median over the rounds), the same in processor seconds, and the seconds;
ratios are null where T5X cannot be imported.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import rounded

ROOT = Path(__file__).parents[2]
EXPERIMENT = "--gin_file=gin/ut_at_demo.gin"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--t5x_python", default=sys.executable, help="a Python that has T5X")
    options = parser.parse_args()
    has_t5x = not subprocess.run(
        [
            options.t5x_python,
            "-c",
            "import importlib.util as u, sys; sys.exit(not u.find_spec('t5x'))",
        ]
    ).returncode
    seconds: dict[str, list[tuple[float, float]]] = {"own": [], "t5x": []}
    with tempfile.TemporaryDirectory() as scratch:
        data = f"{scratch}/data"
        prepare = [sys.executable, "-m", "recalign", "prepare", "demo", "--item_tokens"]
        prepare += ["--data_dir", data]
        subprocess.run(prepare, cwd=ROOT, check=True, capture_output=True)
        for number in range(options.rounds):
            own = [sys.executable, "-m", "recalign", "train", EXPERIMENT, "--data_dir", data]
            own += _bindings(f"{scratch}/own{number}", LOG_PERIOD=1)
            seconds["own"].append(until(own, "step 1 of 1"))
            if has_t5x:
                theirs = [options.t5x_python, "-m", "t5x.train", EXPERIMENT]
                theirs += [f"--tfds_data_dir={data}", "--alsologtostderr"]
                theirs += _bindings(f"{scratch}/t5x{number}")
                seconds["t5x"].append(until(theirs, "END Train loop."))
    figures: dict[str, object] = {"startup_over_t5x": None, "startup_over_t5x_processor": None}
    for place, name in enumerate(figures):
        if has_t5x:
            pairs = zip(seconds["own"], seconds["t5x"], strict=True)
            figures[name] = statistics.median(own[place] / t5x[place] for own, t5x in pairs)
    figures["seconds"] = {
        name: statistics.median(elapsed for elapsed, _ in runs)
        for name, runs in seconds.items()
        if runs
    }
    print(json.dumps(rounded(figures)))


def _bindings(model_dir: str, **macros: int) -> list[str]:
    values = {"MODEL_DIR": f"'{model_dir}'", "TRAIN_STEPS": 1, **macros}
    return [f"--gin.{name}={value}" for name, value in values.items()]


def until(command: list[str], line: str) -> tuple[float, float]:
    """Elapsed and processor seconds from a command's start until it prints `line`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    before, start = _processor_seconds(), time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    printed = []
    for text in process.stderr or ():
        printed.append(text)
        if line in text:
            break
    else:
        raise SystemExit(f"{' '.join(command)} never said {line!r}:\n{''.join(printed[-30:])}")
    elapsed = time.perf_counter() - start
    process.kill()
    process.wait()
    return elapsed, _processor_seconds() - before


def _processor_seconds() -> float:
    """Of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
