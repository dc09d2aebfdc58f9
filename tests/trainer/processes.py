"""The real command in processes of its own, which tests end in the middle, or start several of."""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence

from tests.trainer.conftest import FILES

ROOT = pathlib.Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def started(
    bindings: Sequence[str],
    logs: pathlib.Path,
    processes: int = 1,
    module: Sequence[str] = ("recalign",),
) -> Iterator[list[subprocess.Popen]]:
    """`recalign train`, of several processes as srun would start them on one machine.

    Args:
      bindings: of gin.
      logs: a folder; the files `0.log`, `1.log`, … there are what the processes say.
      processes: that train together.
      module: that runs the command, and arguments of its own.

    Yields:
      The processes; those that are alive at the end are killed.
    """
    arguments = ["train", *(f"--gin_file={file}" for file in FILES)]
    arguments += [f"--gin.{binding.replace(' = ', '=', 1)}" for binding in bindings]
    running = []
    with contextlib.ExitStack() as stack:
        port = _free_port()
        for number in range(processes):
            starter = "-m" if processes == 1 else "launch/distributed.py"
            log = stack.enter_context((logs / f"{number}.log").open("w"))
            process = subprocess.Popen(
                [sys.executable, starter, *module, *arguments],
                cwd=ROOT,
                env={
                    **os.environ,
                    "JAX_PLATFORMS": "cpu",
                    "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
                    "SLURM_JOB_ID": "1",
                    "SLURM_STEP_NODELIST": "localhost",
                    "SLURM_NTASKS": str(processes),
                    "SLURM_PROCID": str(number),
                    "SLURM_LOCALID": str(number),
                },
                stdout=log,
                stderr=log,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            running.append(process)
        yield running


def run(
    bindings: Sequence[str],
    logs: pathlib.Path,
    processes: int = 1,
    module: Sequence[str] = ("recalign",),
) -> None:
    """To the end."""
    with started(bindings, logs, processes, module) as running:
        statuses = [process.wait(timeout=600) for process in running]
    assert statuses == [0] * processes, said(logs)


def said(logs: pathlib.Path, number: int = 0) -> str:
    return (logs / f"{number}.log").read_text()[-4000:]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]
