"""Evaluates an experiment in a process that ends by SIGKILL in the middle of a line.

python -m tests.trainer.killed_evaluation STEP BINDING…
"""

import json
import os
import signal
import sys

from recalign.trainer.evaluation import evaluate
from recalign.trainer.experiment import load_experiment
from recalign.trainer.predictions import PredictionFile
from tests.trainer.conftest import FILES

_append = PredictionFile.append


def _append_until_killed(self, records):
    if self._path.name.startswith("rating") and len(self.records) >= 24:
        (self._parts / "00000024.jsonl.part").write_text(json.dumps(records[0])[:100])
        os.kill(os.getpid(), signal.SIGKILL)
    _append(self, records)


if __name__ == "__main__":
    step, *bindings = sys.argv[1:]
    PredictionFile.append = _append_until_killed
    evaluate(load_experiment(FILES, bindings), "test", int(step))
