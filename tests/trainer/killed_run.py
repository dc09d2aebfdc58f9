"""Trains an experiment in a process of its own, which a test ends in the middle.

python -m tests.trainer.killed_run BINDING…
"""

import sys

import jax

from recalign.trainer import load_experiment, train
from tests.trainer.conftest import FILES

if __name__ == "__main__":
    programs, *bindings = sys.argv[1:]
    jax.config.update("jax_compilation_cache_dir", programs)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    train(load_experiment(FILES, bindings))
