"""Joins the processes of a TPU slice or a Slurm job into one JAX program, then runs a module.

python launch/distributed.py MODULE ARGUMENTS: `python -m MODULE ARGUMENTS` on every process. JAX
finds its coordinator by itself on Cloud TPU, on GKE and under srun.
"""

import os
import runpy
import sys
import traceback

import jax


def main() -> None:
    """Runs sys.argv[1] as `python -m` would, after the processes found each other."""
    del sys.argv[0]
    sys.path[0] = os.getcwd()
    if not jax.distributed.is_initialized():
        jax.distributed.initialize()
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except Exception:
        # At a usual end JAX waits for the other processes, and one that lost another would wait for
        # minutes. The others are told by JAX, which ends them.
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    main()
