"""The arguments of each verb of the command line: a function a verb."""

from __future__ import annotations

import argparse

from recalign import flags, verbs


def demo(parser: argparse.ArgumentParser) -> None:
    """Which corpus, and where."""
    flags.seed(parser)
    flags.add(
        parser,
        ("--out", "DIR", str, "folder of the run (default: runs/demo, or runs/demo-seedN)"),
        ("--quick",
         "check the installation: every step, with 400 users and 20 training steps, in"
         " runs/demo-quick; its figures mean nothing"),
    )  # fmt: skip


def experiments(parser: argparse.ArgumentParser) -> None:
    """Their names, or their folders."""
    parser.add_argument(
        "--search_paths",
        action="store_true",
        help="print the folders that T5X needs as --gin_search_paths away from a clone",
    )


def prepare(parser: argparse.ArgumentParser) -> None:
    """A raw log and how to read and number it."""
    parser.add_argument("name", metavar="NAME", help="the dataset's name; `demo` makes its own log")
    log = parser.add_argument_group("the log")
    flags.add(
        log,
        ("--format", None, str, "layout of the files (default: by the file's name)"),
        ("--interactions", "PATH", str,
         "the interactions: a file, a folder of files or a quoted pattern"),
        ("--items", "PATH", str, "the items' titles and other fields: the same kinds of path"),
    )  # fmt: skip
    flags.columns(log, verbs.COLUMN_ROLES, "the column")
    flags.add(
        log,
        ("--max_bad_fraction", "F", flags.fraction,
         "stop when more than this share of the lines cannot be read (default: 0.001)"),
        ("--review_texts",
         "keep the users' reviews and summaries, which P5's explanation and review tasks need"),
        ("--events", "KIND,…", flags.ids,
         "keep these kinds of events, as in --event_column event --events transaction"),
        ("--encoding", "NAME", str, "encoding of text files (default: UTF-8)"),
        ("--time_format", "FORM", str,
         "how times are written, as in '%%d/%%m/%%Y %%H:%%M' (default: by the first times)"),
        ("--join_ids", "HOW", str,
         "rule that makes the log's and the items' IDs match: zeros, case, integer, letters,"
         " number or path (if no ID matches, the error names the rule that fits)"),
        ("--no_rating", "VALUE,…", lambda text: text.split(","),
         "values that mean no rating, such as 0; lines with one of them or without a rating"
         " are left out"),
        ("--like_threshold", "T", flags.number,
         "a rating above T is a like (default: 3; 0.5 if all ratings are 0 or 1)"),
        ("--keep_repeats",
         "keep every interaction of a user with the same item (default: the first only)"),
    )  # fmt: skip
    flags.add(
        parser,
        ("--item_ids", None, ("random", "sequential", "semantic"),
         "random numbers; sequential numbers, which leak the answer; or semantic codes of the"
         " items' texts (default: random)"),
        ("--item_tokens",
         "add the IDs to the vocabulary, one token per item or per semantic code, and print the"
         " VOCAB_SIZE that experiments then need"),
        ("--seed", None, flags.count, "seed of every random choice (default: 0)"),
        ("--split", None, ("leave_one_out", "temporal"),
         "hold out each user's last two items, or (temporal) the next item after each of two"
         " moments, so that training sees nothing later (default: leave_one_out)"),
        ("--cuts", "T,T", flags.ids,
         "the two moments of --split temporal, as in 2014-01-01,2014-04-01 (default: 80 %% and"
         " 90 %% of the interactions lie before them)"),
        ("--k_core", None, flags.count,
         "keep users and items with at least this many interactions (default: 5)"),
        ("--sentencepiece_model", "FILE", str, "the vocabulary's file, kept with the dataset"),
        ("--noun", None, str,
         "what users buy, in the prompts' words, such as films (default: products)"),
    )  # fmt: skip
    parser.add_argument(
        "--verb",
        dest="deed",  # `verb` is the command's own
        type=lambda text: [part.strip() for part in text.split(",")],
        metavar="DID,DO",
        help="what users did and do, in the prompts' words, as in 'listened to,listen to' (default:"
        " prompts say 'has purchased')",
    )
    parser.add_argument(
        "--vocabulary",
        choices=("t5", "own"),
        help="T5's, read when a task needs it; or own, made from the catalogue's texts, which"
        " fits no pre-trained weights (default: t5)",
    )
    synthetic = parser.add_argument_group(
        "a synthetic log (NAME demo, or any name with --format synthetic)"
    )
    for size, what in (
        ("users", "number of users"),
        ("themes", "number of themes"),
        ("products", "number of items per theme"),
    ):
        synthetic.add_argument(f"--{size}", type=flags.positive, metavar="N", help=what)
    flags.gin(parser, required=False, what="a file of settings, such as those of semantic_ids")
    large = parser.add_argument_group("a log that outgrows a machine")
    flags.add(
        large,
        ("--beam_runner", None, ("direct", "dataflow", "flink", "spark"),
         "prepare with Apache Beam; the result is the same (default: in memory)"),
        ("--beam_options", "'FLAGS'", str,
         "Beam's own flags, as in --beam_options='--project=P --temp_location=gs://B/T'"),
    )  # fmt: skip


def stats(parser: argparse.ArgumentParser) -> None:
    """Which dataset, and how."""
    parser.add_argument("name", metavar="NAME", help="a prepared dataset")
    flags.data_dir(parser)
    parser.add_argument(
        "--history_length",
        type=flags.positive,
        default=20,
        metavar="W",
        help="number of history items per prompt (default: 20)",
    )
    flags.add(
        parser,
        ("--leaks", "check whether IDs or titles give the next item away"),
        ("--json", "print JSON instead of tables"),
    )  # fmt: skip


def show(parser: argparse.ArgumentParser) -> None:
    """Which samples."""
    parser.add_argument("task", metavar="TASK", help="a task, such as retrieval_demo")
    parser.add_argument(
        "--split", choices=verbs.SPLITS, default="train", help="split (default: train)"
    )
    parser.add_argument("--n", type=flags.positive, default=3, help="how many samples (default: 3)")
    flags.seed(parser)
    flags.gin(parser, required=False)


def train(parser: argparse.ArgumentParser) -> None:
    """An experiment."""
    flags.gin(parser)
    parser.add_argument(
        "--force",
        action="store_true",
        help="resume a run although settings that change the training, such as DROPOUT_RATE, differ"
        " from the run's",
    )


def eval(parser: argparse.ArgumentParser) -> None:
    """An experiment, and which checkpoint and split."""
    flags.gin(parser)
    parser.add_argument(
        "--split", choices=verbs.SPLITS[1:], default="test", help="split (default: test)"
    )
    parser.add_argument(
        "--checkpoint",
        default="best",
        metavar="best|last|STEP",
        type=flags.checkpoint,
        help="which checkpoint (default: best)",
    )
    flags.add(
        parser,
        ("--max_examples", "N", flags.positive, "evaluate only the first N examples of each task"),
    )  # fmt: skip


def baselines(parser: argparse.ArgumentParser) -> None:
    """A dataset and the systems to measure."""
    parser.add_argument("name", metavar="NAME", help="a prepared dataset")
    parser.add_argument(
        "--models",
        default=(),
        type=flags.ids,
        metavar="MODEL,…",
        help="systems to measure; all: every one that the dataset allows (default: those without"
        " training: popularity, graph, knn, and optimum and history if the dataset has them)",
    )
    parser.add_argument(
        "--epochs", type=flags.positive, help="the largest number of epochs that a model trains for"
    )
    flags.seed(parser)
    flags.add(
        parser,
        ("--leave_out_seen",
         "leave a user's earlier items out of retrieval lists; a language model's keep them"),
        ("--force", "measure again what the output holds already"),
        ("--environments", "DIR", str,
         "folder in which the libraries' own environments are made (default: the user's cache)"),
    )  # fmt: skip
    flags.gin(parser, required=False)
    parser.add_argument(
        "--out", metavar="FILE", help="output (default: runs/baselines_NAME/results.json)"
    )


def plan(parser: argparse.ArgumentParser) -> None:
    """An experiment and a TPU slice."""
    flags.gin(parser)
    parser.add_argument(
        "--topology",
        required=True,
        metavar="GENERATION:SIDES",
        help="a slice of v4, v5e, v5p or v6e chips, such as v5e:4x4 or v4:2x2x4",
    )
    parser.add_argument(
        "--search",
        action="store_true",
        help="try NUM_PARTITIONS, MICROBATCHES and REMAT, and recommend the fastest that fit",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def convert(parser: argparse.ArgumentParser) -> None:
    """Weights from one format to another."""
    parser.add_argument(
        "source", metavar="SRC", help="a checkpoint, a run, or a model name on the Hugging Face hub"
    )
    parser.add_argument("destination", metavar="DST", help="a new folder")
    for end, side, told in (("from", "source", "files"), ("to", "destination", "name")):
        parser.add_argument(
            f"--{end}",
            dest=f"{side}_format",
            choices=("own", "t5x", "t5x_orbax", "hugging_face"),
            help=f"the {side}'s format (default: by its {told})",
        )
    flags.add(
        parser,
        ("--weights_only", "leave the optimizer's state behind"),
        ("--first_step", "STEP", flags.count,
         "step at which fine-tuning began (step_offset), which T5X's checkpoints lack"),
        ("--item_tokens", "DATASET", str,
         "add a row for each item token of this prepared dataset: the mean of the rows of the"
         " item's title"),
    )  # fmt: skip
    flags.data_dir(parser)


def report(parser: argparse.ArgumentParser) -> None:
    """Runs, and the output."""
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="a run's MODEL_DIR, or a folder that `recalign baselines` wrote",
    )
    parser.add_argument("--out", metavar="FILE", help="output file (default: print text)")
    parser.add_argument(
        "--format",
        choices=("html", "md", "csv", "tex", "txt"),
        help="one HTML page (html), or tables only (default: by FILE's suffix; txt without --out)",
    )
    parser.add_argument(
        "--data_dir",
        "--tfds_data_dir",
        metavar="DIR",
        help="folder of the prepared datasets (default: the one in each run's config.gin)",
    )
