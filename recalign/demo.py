"""The whole of recalign on a corpus of its own: prepare, fine-tune, evaluate, report."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable

from recalign.errors import Stopped, UserError

_EXPERIMENT = "ut_at_demo.gin"
_QUICK_CORPUS = ("--users", "400")  # fewer leave some seeds an item that the 5-core drops
_QUICK_TRAINING = ("--gin.TRAIN_STEPS=20", "--gin.EVAL_PERIOD=0")


def run_demo(
    seed: int, out: str | None, say: Callable[[str], None], quick: bool = False
) -> pathlib.Path:
    """Runs the demo's steps as commands, and returns the report's file.

    The same call again goes on where a run was stopped (`Stopped`: a step saved its state). A seed
    other than 0 has a corpus of its own, so that an interrupted run finds the one that it began on.
    `say` is given each step's title; the other arguments are the flags of `recalign demo`.
    """
    kind, folder = ("-quick", "data/quick") if quick else ("", "data")
    run = out or f"runs/demo{kind}" + (f"-seed{seed}" if seed else "")
    if "'" in run or "\\" in run:
        raise UserError(f"--out {run!r}: a quote or a backslash cannot stand in a run's name")
    data = ["--data_dir", folder + (f"/seed{seed}" if seed else "")]
    report = pathlib.Path(run) / "report.html"
    baselines = f"{run}/baselines"
    say(f"1 of 3: the demo's corpus (seed {seed})")
    corpus = ["--item_tokens", "--seed", str(seed), *data, *(_QUICK_CORPUS if quick else ())]
    _step("prepare", "demo", *corpus)
    say("2 of 3: fine-tuning UT+AT, then the test split by beam search")
    experiment = f"--gin_file={_EXPERIMENT}"
    directory = f"--gin.MODEL_DIR={run!r}"
    settings = [f"--gin.RANDOM_SEED={seed}", *(_QUICK_TRAINING if quick else ())]
    _step("train", experiment, *data, directory, *settings)
    say("3 of 3: the report")
    models = ["--models", "popularity,history,graph,optimum", experiment]
    _step("baselines", "demo", *models, *data, "--out", f"{baselines}/results.json")
    _step("report", run, baselines, *data, "--out", str(report))
    return report


def _step(*words: str) -> None:
    """One verb in a process of its own, on the accelerator that JAX has a plug-in for, if any."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if not _has_accelerator():
        environment.setdefault("JAX_PLATFORMS", "cpu")
    status = subprocess.run([sys.executable, "-m", "recalign", *words], env=environment).returncode
    if status in (75, 130):
        raise Stopped(f"{words[0]} was stopped", by_hand=status == 130)
    if status:
        raise UserError(f"`recalign {words[0]}` failed with status {status}; its message is above")


def _has_accelerator() -> bool:
    """Whether JAX's plug-in for a GPU is installed; without one it would only complain."""
    return any(importlib.util.find_spec(f"jax_cuda{number}_plugin") for number in (12, 13))
