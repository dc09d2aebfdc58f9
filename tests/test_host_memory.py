"""Freed memory stays with the process, whichever thread asked for it."""

import subprocess
import sys

import pytest

# A block of 200 MB, written and freed four times by a thread: page faults of each time.
_PROGRAM = """
import ctypes, resource, threading
from recalign.host_memory import keep_freed_memory

kept = {keep} and keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
faults = []

def step():
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        block = libc.malloc(200_000_000)
        ctypes.memset(block, 1, 200_000_000)
        libc.free(block)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

thread = threading.Thread(target=step)
thread.start()
thread.join()
print(kept, *faults)
"""


def run(keep):
    command = [sys.executable, "-c", _PROGRAM.format(keep=keep)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    kept, *faults = done.stdout.split()
    return kept == "True", [int(number) for number in faults]


def test_only_the_first_step_faults():
    kept, faults = run(True)
    if not kept:
        pytest.skip("no glibc")
    assert faults[0] > 100 and max(faults[1:]) < 100
    _, without = run(False)
    assert min(without) > 100
