"""Lets `t5x.eval` and `t5x.infer` read an experiment's file, which is written for `t5x.train`.

T5X's run files bind functions of the program that runs (`__main__`), and gin refuses a binding of a
function that is not there. So importing this module gives the two programs that do not train a
`train` that is never called. gin/runs/eval.gin and gin/runs/infer.gin bind what they do call.
"""

import sys
from typing import Any


def train(**bound: Any) -> None:
    """Takes the bindings of `t5x.train.train`."""


_main = sys.modules["__main__"]
if getattr(getattr(_main, "__spec__", None), "name", None) in ("t5x.eval", "t5x.infer"):
    _main.train = train  # type: ignore[attr-defined]
