"""The decoders under T5X's partitioner with model parallelism, on two pretended devices."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_fast_and_constrained_beams_are_those_of_one_device(data_dir):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    outcome = subprocess.run(
        [sys.executable, "-m", "tests.t5x.partitioned", data_dir],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stderr[-3000:]
    assert "equal beams: 96" in outcome.stdout
