"""The arguments of each verb of the command line: a function a verb."""

from __future__ import annotations

import argparse

from recalign import flags, verbs


def demo(parser: argparse.ArgumentParser) -> None:
    """Which corpus, and where."""
    parser.add_argument(
        "--seed", type=flags.count, default=0, help="of all that is drawn (default: 0)"
    )
    parser.add_argument(
        "--out", metavar="DIR", help="the run (default: runs/demo, or runs/demo-seedN)"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="every step, on 400 users and for 20 steps of training, in runs/demo-quick: whether"
        " all is installed; its figures mean nothing",
    )


def experiments(parser: argparse.ArgumentParser) -> None:
    """Their names, or where they are."""
    parser.add_argument(
        "--search_paths",
        action="store_true",
        help="print the folders that T5X needs as --gin_search_paths away from a clone",
    )


def prepare(parser: argparse.ArgumentParser) -> None:
    """A raw log and how to read and number it."""
    parser.add_argument("name", metavar="NAME", help="the dataset's name; `demo` makes its own log")
    log = parser.add_argument_group("the log")
    log.add_argument("--format", help="layout of the files (default: told from the file's name)")
    log.add_argument(
        "--interactions",
        metavar="PATH",
        help="who interacted with what, and when: a file, a folder of files or a quoted pattern",
    )
    log.add_argument("--items", metavar="PATH", help="the items' titles and other fields, likewise")
    for column in verbs.COLUMN_ROLES:
        log.add_argument(
            f"--{column}_column", metavar="COLUMN", help=f"column of the {column.replace('_', ' ')}"
        )
    log.add_argument(
        "--max_bad_fraction",
        type=flags.fraction,
        metavar="F",
        help="stop when more than this share of the lines cannot be read (default: 0.001)",
    )
    log.add_argument(
        "--review_texts",
        action="store_true",
        default=None,
        help="keep the users' reviews and their summaries, which P5's tasks can explain with",
    )
    log.add_argument(
        "--events",
        type=flags.ids,
        metavar="KIND,…",
        help="the kinds of events that count, as in --event_column event --events transaction",
    )
    log.add_argument("--encoding", metavar="NAME", help="of files of text (default: UTF-8)")
    log.add_argument(
        "--time_format",
        metavar="FORM",
        help="how times are written, as in '%%d/%%m/%%Y %%H:%%M' (default: the first ones tell)",
    )
    log.add_argument(
        "--join_ids",
        metavar="HOW",
        help="make IDs of the log and of the items alike: zeros, case, integer, letters, number or"
        " path (what fits is told where none join)",
    )
    log.add_argument(
        "--no_rating",
        type=lambda text: text.split(","),
        metavar="VALUE,…",
        help="ratings that stand for none, such as 0; lines with them or without one are left out",
    )
    log.add_argument(
        "--like_threshold",
        type=flags.number,
        metavar="T",
        help="a rating above it is a like (default: 3; 0.5 where ratings are 0 or 1)",
    )
    log.add_argument(
        "--keep_repeats",
        action="store_true",
        default=None,
        help="keep a user's later interactions with the same item (default: the first alone)",
    )
    parser.add_argument(
        "--item_ids",
        choices=("random", "sequential", "semantic"),
        help="how items are named: random numbers; sequential ones, which leak the answer; or"
        " codes of their texts (default: random)",
    )
    parser.add_argument(
        "--item_tokens",
        action="store_true",
        default=None,
        help="make the ids pieces of the vocabulary: a token an item, or a token a semantic code;"
        " prints the VOCAB_SIZE that experiments then need",
    )
    parser.add_argument("--seed", type=flags.count, help="of all that is drawn (default: 0)")
    parser.add_argument(
        "--split",
        choices=("leave_one_out", "temporal"),
        help="each user's last two items are held out, or the next after each of two moments, which"
        " trains on nothing that came later (default: leave_one_out)",
    )
    parser.add_argument(
        "--cuts",
        type=flags.ids,
        metavar="T,T",
        help="the moments of --split temporal, as in 2014-01-01,2014-04-01 (default: those before"
        " which lie 80 and 90 %% of the interactions)",
    )
    parser.add_argument(
        "--k_core",
        type=flags.count,
        help="keep users and items with at least this many interactions (default: 5)",
    )
    parser.add_argument(
        "--sentencepiece_model", metavar="FILE", help="the vocabulary to keep beside the dataset"
    )
    parser.add_argument("--noun", help="what users buy, for prompts: films (default: products)")
    parser.add_argument(
        "--verb",
        dest="deed",  # `verb` is the command's own
        type=lambda text: [part.strip() for part in text.split(",")],
        metavar="DID,DO",
        help="what they did where they bought nothing, as in 'listened to,listen to'",
    )
    parser.add_argument(
        "--vocabulary",
        choices=("t5", "own"),
        help="T5's, read when a task needs it, or one made from the catalogue's texts, which no"
        " pre-trained weights fit (default: t5)",
    )
    synthetic = parser.add_argument_group("a synthetic log: `demo`, or any name by this format")
    for size, what in (
        ("users", "sequences"),
        ("themes", "kinds of items"),
        ("products", "items a theme"),
    ):
        synthetic.add_argument(f"--{size}", type=flags.positive, metavar="N", help=what)
    flags.gin(parser, required=False, what="settings, such as those of semantic_ids")
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


def stats(parser: argparse.ArgumentParser) -> None:
    """Which dataset, and how."""
    parser.add_argument("name", metavar="NAME", help="a prepared dataset")
    flags.data_dir(parser)
    parser.add_argument(
        "--history_length",
        type=flags.positive,
        default=20,
        metavar="W",
        help="items a prompt (default: 20)",
    )
    parser.add_argument(
        "--leaks", action="store_true", help="say whether IDs or titles give the next item away"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def show(parser: argparse.ArgumentParser) -> None:
    """Which samples."""
    parser.add_argument("task", metavar="TASK", help="a task, such as retrieval_demo")
    parser.add_argument("--split", choices=verbs.SPLITS, default="train", help="(default: train)")
    parser.add_argument("--n", type=flags.positive, default=3, help="how many samples (default: 3)")
    parser.add_argument(
        "--seed", type=flags.count, default=0, help="of all that is drawn (default: 0)"
    )
    flags.gin(parser, required=False)


def train(parser: argparse.ArgumentParser) -> None:
    """An experiment."""
    flags.gin(parser)
    parser.add_argument(
        "--force",
        action="store_true",
        help="go on with settings that change the training, such as DROPOUT_RATE, in a MODEL_DIR"
        " that was begun with others",
    )


def eval(parser: argparse.ArgumentParser) -> None:
    """An experiment, and which checkpoint and split."""
    flags.gin(parser)
    parser.add_argument("--split", choices=verbs.SPLITS[1:], default="test", help="(default: test)")
    parser.add_argument(
        "--checkpoint",
        default="best",
        metavar="best|last|STEP",
        type=flags.checkpoint,
        help="which checkpoint (default: best)",
    )
    flags.max_examples(parser)


def baselines(parser: argparse.ArgumentParser) -> None:
    """A dataset and the systems to measure."""
    parser.add_argument("name", metavar="NAME", help="a prepared dataset")
    parser.add_argument(
        "--models",
        default=(),
        type=flags.ids,
        metavar="MODEL,…",
        help="which; all: all that the dataset has something for (default: those without training:"
        " popularity, graph, knn, and optimum and history where there are any)",
    )
    parser.add_argument("--epochs", type=flags.positive, help="the most that a model trains")
    parser.add_argument(
        "--seed", type=flags.count, default=0, help="of all that is drawn (default: 0)"
    )
    parser.add_argument(
        "--leave_out_seen",
        action="store_true",
        help="take a user's earlier items out of a retrieval; a language model's stay in",
    )
    parser.add_argument("--force", action="store_true", help="measure again what is there")
    parser.add_argument(
        "--environments",
        metavar="DIR",
        help="where the libraries' own environments are made (default: the user's cache)",
    )
    flags.gin(parser, required=False)
    parser.add_argument("--out", metavar="FILE", help="(default: runs/baselines_NAME/results.json)")


def plan(parser: argparse.ArgumentParser) -> None:
    """An experiment and a slice."""
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
        help="try NUM_PARTITIONS, MICROBATCHES and REMAT, and recommend the fastest that fits",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def convert(parser: argparse.ArgumentParser) -> None:
    """Weights from one format to another."""
    parser.add_argument("source", metavar="SRC", help="a checkpoint, a run, or a hub's model name")
    parser.add_argument("destination", metavar="DST", help="a folder that is not there yet")
    for end, side, told in (("from", "source", "files"), ("to", "destination", "name")):
        parser.add_argument(
            f"--{end}",
            dest=f"{side}_format",
            choices=("own", "t5x", "t5x_orbax", "hugging_face"),
            help=f"the {side}'s format (default: told from its {told})",
        )
    parser.add_argument(
        "--weights_only", action="store_true", help="leave the optimizer's state behind"
    )
    parser.add_argument(
        "--first_step",
        type=flags.count,
        metavar="STEP",
        help="where fine-tuning began, which T5X's checkpoints do not say: its step_offset",
    )
    parser.add_argument(
        "--item_tokens",
        metavar="DATASET",
        help="give the weights rows for the item tokens of this prepared dataset, each the mean of"
        " the rows of the item's title",
    )
    flags.data_dir(parser)


def report(parser: argparse.ArgumentParser) -> None:
    """Runs, and what to make of them."""
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="a run's MODEL_DIR, or a folder that `recalign baselines` wrote",
    )
    parser.add_argument("--out", metavar="FILE", help="where to write (default: print text)")
    parser.add_argument(
        "--format",
        choices=("html", "md", "csv", "tex", "txt"),
        help="one HTML page, or tables (default: by FILE's suffix; txt without --out)",
    )
    parser.add_argument(
        "--data_dir",
        "--tfds_data_dir",
        metavar="DIR",
        help="where prepared datasets lie (default: where each run's config.gin says)",
    )
