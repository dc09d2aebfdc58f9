"""Page faults and processor time of a training step on a CPU, with freed memory kept and without.

    PYTHONPATH=. python tests/benchmarks/memory.py [--steps 50 200]

Trains gin/ut_at_demo.gin on the demo's corpus for the first and for the second number of steps,
with glibc as it is and with `host_memory.keep_freed_memory`. Prints one JSON line: what a step
costs by the difference, start and compilation left out, and `processor_time_ratio`, kept over given
back.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile

from common import rounded

# As `recalign` runs, or without what keeps memory.
_PROGRAM = """
import sys
from recalign import cli, host_memory
if sys.argv[1] == "given_back":
    host_memory.keep_freed_memory = lambda **_: False
sys.exit(cli.main(sys.argv[2:]))
"""


def _spent(mode: str, *words: str) -> tuple[float, float, float]:
    """(page faults, user seconds, system seconds) of one command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-c", _PROGRAM, mode, *words],
        check=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (
        after.ru_minflt - before.ru_minflt,
        after.ru_utime - before.ru_utime,
        after.ru_stime - before.ru_stime,
    )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, nargs=2, default=(50, 200))
    few, many = parser.parse_args().steps
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        data = f"--data_dir={folder}/data"
        _spent("kept", "prepare", "demo", "--item_tokens", data)
        for mode in ("given_back", "kept"):
            spent = {
                steps: _spent(
                    mode,
                    "train",
                    "--gin_file=gin/ut_at_demo.gin",
                    data,
                    f"--gin.MODEL_DIR='{folder}/{mode}{steps}'",
                    f"--gin.TRAIN_STEPS={steps}",
                    "--gin.EVAL_PERIOD=0",
                    "--gin.TEST_SPLIT=None",
                )
                for steps in (few, many)
            }
            faults, user, system = (
                (b - a) / (many - few) for a, b in zip(spent[few], spent[many], strict=True)
            )
            figures[mode] = {
                "page_faults_a_step": round(faults),
                "user_ms_a_step": 1e3 * user,
                "system_ms_a_step": 1e3 * system,
            }
    of = {mode: row["user_ms_a_step"] + row["system_ms_a_step"] for mode, row in figures.items()}
    ratio = of["kept"] / of["given_back"]
    print(json.dumps(rounded({**figures, "processor_time_ratio": ratio})))


if __name__ == "__main__":
    main()
