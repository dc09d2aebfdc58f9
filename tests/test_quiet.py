"""What a process leaves unsaid."""

import subprocess
import sys

PROGRAM = """
import asyncio, gc
from recalign import quiet
quiet.hush_echoes()

class Ends:
    def __init__(self, words):
        self.words = words
    def __del__(self):
        raise RuntimeError(self.words)

for words in ("Event loop is closed", "another fault"):
    Ends(words)

async def write(words):
    raise ValueError(words)

async def writes():
    tasks = [asyncio.ensure_future(write("the disk is full")) for _ in range(2)]
    await asyncio.wait(tasks)

asyncio.run(writes())
gc.collect()
"""


def test_echoes_of_a_failed_write_are_left_out_and_nothing_else():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0
    assert "another fault" in done.stderr
    assert "Event loop is closed" not in done.stderr
    assert "the disk is full" not in done.stderr
