"""The command line: its verbs, and what becomes of their errors.

A verb's arguments stand in arguments.py, what it does in verbs.py; both of those that ask a trained
run in asking.py. Nothing heavy is imported here: `--help` is instant.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import locale
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import NoReturn

from recalign import __version__, arguments, asking, host_memory, quiet, verbs
from recalign.errors import Stopped, UserError

# A place that cannot be written to or read from: the user's affair, not a fault of ours.
_OF_THE_PLACE = (
    errno.EACCES, errno.EDQUOT, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOSPC, errno.ENOTDIR,
    errno.EPERM, errno.EROFS,
)  # fmt: skip
# The verbs that go on where they were when the same command is given again.
_RESUMED = ("train", "eval")
# The verbs whose steps on a CPU would hand their memory back to the system and ask for it again.
_OF_MANY_STEPS = ("train", "eval", "recommend", "serve")
# The verbs that read no dataset and need not wait for TensorFlow; `convert` may be given one.
_WITHOUT_TENSORFLOW = ("convert", "demo", "experiments")
# What JAX says that a device lacks, and what to do.
_OF_THE_DEVICE = {
    "RESOURCE_EXHAUSTED": "the device has too little memory: set MICROBATCHES, or a smaller "
    "BATCH_SIZE (in evaluation EVAL_BATCH_SIZE); `recalign plan` says what fits",
    "cuDNN is not detected": "ATTENTION = 'cudnn' is for NVIDIA GPUs: set it to None",
}
# Verb -> what adds its arguments, where its function is, what it does in words, an example.
_VERBS: Mapping[str, tuple[Callable, ModuleType, str, str]] = {
    "demo": (arguments.demo, verbs,
        "makes a synthetic corpus, fine-tunes on it and writes a report, in minutes",
        "recalign demo --seed 1"),
    "prepare": (arguments.prepare, verbs,
        "turns a raw log into a prepared dataset and prints its row of Table 7",
        "recalign prepare movielens --format movielens"
        " --interactions ratings.csv.gz --items movies.csv.gz"),
    "stats": (arguments.stats, verbs,
        "shows a dataset's statistics and its sample counts per task and split",
        "recalign stats demo --json"),
    "show": (arguments.show, verbs,
        "shows samples of a task as a person reads them, with token counts",
        "recalign show retrieval_demo --split test --n 2"),
    "train": (arguments.train, verbs,
        "fine-tunes a model; the same command again resumes an interrupted run",
        "recalign train --gin_file=gin/ut_at_demo.gin --gin.MODEL_DIR=\"'runs/demo'\""),
    "eval": (arguments.eval, verbs,
        "evaluates a checkpoint and writes MODEL_DIR/results.json",
        "recalign eval --gin_file=gin/ut_at_demo.gin --gin.MODEL_DIR=\"'runs/demo'\""
        " --split test --checkpoint best"),
    "recommend": (asking.recommend_arguments, asking,
        "recommends the next items after a history, or for every user into a file",
        "recalign recommend --model_dir runs/demo --history I3,I17,I42 --k 5"),
    "serve": (asking.serve_arguments, asking,
        "answers over HTTP: recommendations, health, metrics and the API's description",
        "recalign serve --model_dir runs/demo --port 8000"),
    "baselines": (arguments.baselines, verbs,
        "measures conventional recommenders on the same split, for comparison",
        "recalign baselines demo"),
    "plan": (arguments.plan, verbs,
        "compiles an experiment for a TPU slice without having one: memory, step time, hours",
        "recalign plan --gin_file=gin/ut_at_toys.gin --topology v5e:4x4 --search"),
    "convert": (arguments.convert, verbs,
        "converts weights between T5X, Hugging Face and recalign",
        "recalign convert google/flan-t5-base flan_t5_base --from hugging_face --to own"),
    "experiments": (arguments.experiments, verbs,
        "lists the experiments that --gin_file finds by name",
        "recalign experiments --search_paths"),
    "report": (arguments.report, verbs,
        "compares runs and baselines with the paper's figures, with intervals, on one page",
        "recalign report runs/demo runs/baselines_demo --out runs/demo/report.html"),
}  # fmt: skip
_GIN_FLAG = re.compile(r"--gin\.(?P<parameter>[^=\s]+)=(?P<value>.*)", re.DOTALL)


def run() -> NoReturn:
    """The entry point of `recalign` and of `python -m recalign`.

    Files and titles are UTF-8 whatever the locale is, so another one (`LC_ALL=C PYTHONUTF8=0`)
    starts Python again in its UTF-8 mode.
    """
    if not sys.flags.utf8_mode and locale.getencoding().lower() not in ("utf-8", "utf8"):
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    sys.exit(main())


def main(words: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status.

    0: done. 2: bad input, or a disk that is full or not to be written to, told in one line on
    standard error. 75: a run was told to stop (SIGTERM) and saved its state. 130: interrupted.
    Whatever else goes wrong is a fault of ours and keeps its traceback.
    """
    plain, bindings = _split_gin_bindings(sys.argv[1:] if words is None else words)
    parser = build_parser()
    options = parser.parse_args(plain)
    if bindings and not hasattr(options, "gin_bindings"):
        parser.error(f"{options.verb} takes no --gin.… flags")
    if bindings:
        options.gin_bindings = bindings
    try:
        with _told_to_stop(options.verb):
            if options.verb in _OF_MANY_STEPS:
                host_memory.keep_freed_memory(one_arena=options.verb == "serve")
                quiet.hush_echoes()
            if options.verb not in _WITHOUT_TENSORFLOW or getattr(options, "item_tokens", None):
                quiet.load_tensorflow()
            options.run(options)
        sys.stdout.flush()
    except UserError as error:
        print("recalign: error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(f"recalign: {stopped}; the same command goes on from there", file=sys.stderr)
        return stopped.status
    except KeyboardInterrupt:
        print("recalign: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # `recalign show … | head`: nobody reads on, and Python's last flush must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in _OF_THE_PLACE:
            raise
        place = "" if error.filename is None else f"{error.filename}: "
        print(f"recalign: error: {place}{error.strerror}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        told = next((advice for said, advice in _OF_THE_DEVICE.items() if said in str(error)), None)
        if told is None:
            raise
        cause = str(error).splitlines()[0]
        print(f"recalign: error: {told} ({cause})", file=sys.stderr)
        return 2
    return 0


@contextlib.contextmanager
def _told_to_stop(verb: str) -> Iterator[None]:
    """SIGTERM ends a verb that goes on where it was with the status that says so, at any moment.

    While it trains, the loop saves the state first. Of several processes JAX itself takes note.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if verb not in _RESUMED or not in_main or _is_distributed():
        yield
        return

    def stop(number: int, frame: object) -> NoReturn:
        raise Stopped("SIGTERM: what was written is kept", by_hand=False)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _is_distributed() -> bool:
    jax = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized()


def _split_gin_bindings(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Takes T5X's `--gin.NAME=VALUE` flags out: ['--gin.A=1'] -> ([], ['A = 1'])."""
    plain, bindings = [], []
    for word in words:
        if match := _GIN_FLAG.fullmatch(word):
            bindings.append(f"{match['parameter']} = {match['value']}")
        else:
            plain.append(word)
    return plain, bindings


def build_parser() -> argparse.ArgumentParser:
    """The parser of every verb; what it parses carries the verb's function as `run`."""
    parser = argparse.ArgumentParser(
        prog="recalign",
        description="Turns interaction logs into natural-language tasks and fine-tunes T5 models "
        "to recommend.",
        epilog="`recalign VERB --help` shows a verb's arguments and an example.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"recalign {__version__}")
    adder = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    for name, (add_arguments, room, does, example) in _VERBS.items():
        added = adder.add_parser(
            name,
            help=does,
            description=f"{does[0].upper()}{does[1:]}.",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        added.set_defaults(run=getattr(room, "evaluate" if name == "eval" else name))
        add_arguments(added)
    return parser
