"""The command line: every verb's arguments, and what becomes of its errors.

What a verb does stands in verbs.py. Nothing heavy is imported here: `--help` is instant.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from recalign import __version__, verbs
from recalign.errors import UserError

_GIN_FLAG = re.compile(r"--gin\.(?P<parameter>[^=\s]+)=(?P<value>.*)", re.DOTALL)


def run() -> NoReturn:
    """The entry point of `recalign` and of `python -m recalign`."""
    sys.exit(main())


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status.

    0: done. 2: bad input, told in one line on standard error. 130: interrupted. Whatever else goes
    wrong is a fault of ours and keeps its traceback.
    """
    plain, bindings = _split_gin_bindings(sys.argv[1:] if arguments is None else arguments)
    parser = build_parser()
    options = parser.parse_args(plain)
    if bindings and not hasattr(options, "gin_bindings"):
        parser.error(f"{options.verb} takes no --gin.… flags")
    if bindings:
        options.gin_bindings = bindings
    try:
        if options.run is not verbs.report:
            verbs.load_tensorflow()
        options.run(options)
        sys.stdout.flush()
    except UserError as error:
        print("recalign: error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("recalign: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # `recalign show … | head`: nobody reads on, and Python's last flush must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0


def _split_gin_bindings(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Takes T5X's `--gin.NAME=VALUE` flags out: ['--gin.A=1'] -> ([], ['A = 1'])."""
    plain, bindings = [], []
    for argument in arguments:
        if match := _GIN_FLAG.fullmatch(argument):
            bindings.append(f"{match['parameter']} = {match['value']}")
        else:
            plain.append(argument)
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

    def verb(
        name: str, function: Callable[[argparse.Namespace], None], does: str, example: str
    ) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = adder.add_parser(
            name,
            help=does,
            description=f"{does[0].upper()}{does[1:]}.",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        added.set_defaults(run=function)
        return added

    _prepare(
        verb(
            "prepare",
            verbs.prepare,
            "turns a raw log into a prepared dataset and prints its row of Table 7",
            "recalign prepare movielens --format movielens"
            " --interactions ratings.csv.gz --items movies.csv.gz",
        )
    )
    _stats(
        verb(
            "stats",
            verbs.stats,
            "shows a dataset's statistics and its sample counts per task and split",
            "recalign stats demo --json",
        )
    )
    _show(
        verb(
            "show",
            verbs.show,
            "shows samples of a task as a person reads them, with token counts",
            "recalign show retrieval_demo --split test --n 2",
        )
    )
    _train(
        verb(
            "train",
            verbs.train,
            "fine-tunes a model; the same command again resumes an interrupted run",
            "recalign train --gin_file=gin/ut_at_demo.gin --gin.MODEL_DIR=\"'runs/demo'\"",
        )
    )
    _eval(
        verb(
            "eval",
            verbs.evaluate,
            "evaluates a checkpoint and writes MODEL_DIR/results.json",
            "recalign eval --gin_file=gin/ut_at_demo.gin --gin.MODEL_DIR=\"'runs/demo'\""
            " --split test --checkpoint best",
        )
    )
    _recommend(
        verb(
            "recommend",
            verbs.recommend,
            "recommends the next items after a history, with titles and scores",
            "recalign recommend --model_dir runs/demo --history I3,I17,I42 --k 5",
        )
    )
    _baselines(
        verb(
            "baselines",
            verbs.baselines,
            "measures reference systems on the same split",
            "recalign baselines demo --models popularity --out popularity.json",
        )
    )
    _plan(
        verb(
            "plan",
            verbs.plan,
            "compiles an experiment for a TPU slice that is not there: memory, time, hours",
            "recalign plan --gin_file=gin/ut_at_toys.gin --topology v5e:4x4 --search",
        )
    )
    _report(
        verb(
            "report",
            verbs.report,
            "puts runs, their references and their samples on one page",
            "recalign report runs/demo --out runs/demo/report.html",
        )
    )
    return parser


# Each verb's arguments ----------------------------------------------------------------------------


def _prepare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the dataset's name; `demo` makes its own log")
    log = parser.add_argument_group("the log")
    log.add_argument("--format", help="layout of the files (default: told from the file's name)")
    log.add_argument("--interactions", metavar="PATH", help="who interacted with what, and when")
    log.add_argument("--items", metavar="PATH", help="the items' titles and other fields")
    for column in verbs.COLUMN_ROLES:
        log.add_argument(
            f"--{column}_column", metavar="COLUMN", help=f"column of the {column.replace('_', ' ')}"
        )
    log.add_argument(
        "--max_bad_fraction",
        type=_fraction,
        metavar="F",
        help="stop when more than this share of the lines cannot be read (default: 0.001)",
    )
    log.add_argument(
        "--review_texts",
        action="store_true",
        default=None,
        help="keep the users' reviews and their summaries, which P5's tasks can explain with",
    )
    _data_dir(parser)
    parser.add_argument(
        "--item_ids",
        choices=("random", "sequential"),
        help="how items are numbered; sequential leaks the answer (default: random)",
    )
    parser.add_argument("--seed", type=_count, help="of all that is drawn (default: 0)")
    parser.add_argument(
        "--k_core",
        type=_count,
        help="keep users and items with at least this many interactions (default: 5)",
    )
    parser.add_argument(
        "--sentencepiece_model", metavar="FILE", help="the vocabulary to keep beside the dataset"
    )
    large = parser.add_argument_group("a log that outgrows a machine")
    large.add_argument(
        "--beam_runner",
        choices=("direct", "dataflow", "flink", "spark"),
        help="prepare by Apache Beam, with the same result (default: in memory)",
    )
    large.add_argument(
        "--beam_options",
        metavar="'FLAGS'",
        help="Beam's own, as in --beam_options='--project=P --temp_location=gs://B/T'",
    )


def _stats(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a prepared dataset")
    _data_dir(parser)
    parser.add_argument(
        "--history_length",
        type=_positive,
        default=20,
        metavar="W",
        help="items a prompt (default: 20)",
    )
    parser.add_argument(
        "--leaks", action="store_true", help="say whether IDs or titles give the next item away"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def _show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK", help="a task, such as retrieval_demo")
    parser.add_argument("--split", choices=verbs.SPLITS, default="train", help="(default: train)")
    parser.add_argument("--n", type=_positive, default=3, help="how many samples (default: 3)")
    parser.add_argument("--seed", type=_count, default=0, help="of all that is drawn (default: 0)")
    _gin(parser, required=False)


def _train(parser: argparse.ArgumentParser) -> None:
    _gin(parser)


def _eval(parser: argparse.ArgumentParser) -> None:
    _gin(parser)
    parser.add_argument("--split", choices=verbs.SPLITS[1:], default="test", help="(default: test)")
    parser.add_argument(
        "--checkpoint",
        default="best",
        metavar="best|last|STEP",
        type=_checkpoint,
        help="which checkpoint (default: best)",
    )
    _max_examples(parser)


def _recommend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model_dir", required=True, metavar="DIR", help="a run's MODEL_DIR")
    parser.add_argument(
        "--history", required=True, type=_ids, metavar="ID,ID,…", help="item IDs, the oldest first"
    )
    parser.add_argument("--k", type=_positive, default=10, help="how many items (default: 10)")
    parser.add_argument(
        "--only", metavar="FILE", help="recommend only these IDs (one a line), say those in stock"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    _data_dir(parser)


def _baselines(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a prepared dataset")
    parser.add_argument(
        "--models", required=True, type=_ids, metavar="MODEL,…", help="popularity, optimum (demo)"
    )
    parser.add_argument("--split", choices=verbs.SPLITS[1:], default="test", help="(default: test)")
    _max_examples(parser)
    _gin(parser, required=False)
    parser.add_argument("--out", metavar="FILE", help="write JSON here instead of printing it")


def _plan(parser: argparse.ArgumentParser) -> None:
    _gin(parser)
    parser.add_argument(
        "--topology",
        required=True,
        metavar="GENERATION:SIDES",
        help="a slice of v4, v5e, v5p or v6e chips, such as v5e:4x4 or v4:2x2x4",
    )
    parser.add_argument(
        "--search",
        action="store_true",
        help="try NUM_PARTITIONS, MICROBATCHES and REMAT, and recommend the fastest that fits",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def _report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's MODEL_DIR")
    parser.add_argument("--out", metavar="FILE", help="where to write (default: print text)")
    parser.add_argument(
        "--format",
        choices=("html", "txt"),
        help="one HTML page or plain tables (default: html with --out, else txt)",
    )


# Shared flags and types ---------------------------------------------------------------------------


def _data_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data_dir",
        "--tfds_data_dir",
        metavar="DIR",
        help="where prepared datasets lie (default: data)",
    )


def _max_examples(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max_examples", type=_positive, metavar="N", help="only the first N of each task"
    )


def _gin(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """The experiment; optional where it only says how long histories and how large pools are."""
    parser.add_argument(
        "--gin_file",
        dest="gin_files",
        action="append",
        required=required,
        default=None if required else [],
        metavar="FILE",
        help="an experiment file; may be given again, a later file wins",
    )
    parser.add_argument(
        "--gin.NAME",
        dest="gin_bindings",
        action=_GinWithoutValue,
        default=[],
        metavar="VALUE",
        help="overrides the experiment, as --gin.TRAIN_STEPS=500 does",
    )
    parser.add_argument(
        "--gin_search_paths",
        type=lambda text: text.split(","),
        default=[],
        metavar="DIR,…",
        help="where else included files are looked for",
    )
    _data_dir(parser)


class _GinWithoutValue(argparse.Action):
    """Stands for `--gin.NAME=VALUE` in the help; what is well formed never gets here."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> NoReturn:
        parser.error("a binding is written --gin.NAME=VALUE, with a name, in one argument")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 up")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)


def _fraction(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1")
    return number


def _checkpoint(text: str) -> str:
    if text not in ("best", "last") and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is neither best, last nor a step")
    return text


def _ids(text: str) -> list[str]:
    ids = [part.strip() for part in text.split(",") if part.strip()]
    if not ids:
        raise argparse.ArgumentTypeError("it names nothing")
    return ids
