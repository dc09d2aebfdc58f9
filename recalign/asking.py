"""The verbs that ask a trained run, `recommend` and `serve`: their arguments and what they do."""

from __future__ import annotations

import argparse
import io
import ipaddress
import json
import sys
from typing import TYPE_CHECKING

from recalign import flags
from recalign.errors import UserError

if TYPE_CHECKING:
    from etils import epath

    from recalign.serve.histories import LogSource
    from recalign.trainer.recommend import Recommender

_COLUMNS = ("user", "item", "time", "event")
_ITEM_COLUMNS = ("item", "title", "brand", "price", "categories", "description")
# Flags of `recommend` that are for files of many users.
_OF_MANY = ("out", "exclude", "shard", "format", "events", *(f"{role}_column" for role in _COLUMNS))


def recommend_arguments(parser: argparse.ArgumentParser) -> None:
    """A run and a history, or many."""
    _run(parser)
    asked = parser.add_mutually_exclusive_group(required=True)
    flags.add(
        asked,
        ("--history", "ID,ID,…", flags.ids, "item IDs, the catalogue's or the log's, oldest first"),
        ("--jsonl",
         "keep the model in memory and answer each line of standard input, such as"
         ' {"history": [ID, …], "k": 5, "only": [ID, …], "user": anything} (only the history is'
         ' required), by a line {"items": […], "latency_ms": …}'),
        ("--all", "every user of the dataset, after the whole history, the test item included"),
        ("--histories", "PATH", str, "every user of a log that `prepare` can read"),
    )  # fmt: skip
    parser.add_argument(
        "--k", type=flags.positive, default=10, help="number of items (default: 10)"
    )
    parser.add_argument(
        "--only",
        metavar="FILE",
        help="recommend only the IDs in FILE, one per line, such as those in stock",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    many = parser.add_argument_group("with --all or --histories")
    flags.add(
        many,
        ("--out", "FILE", str,
         "a Parquet file, one row per recommended item; after an interruption the same command"
         " resumes"),
        ("--exclude", "PATH", str,
         "pairs of user and item that must not be recommended: a log like --histories"),
        ("--shard", "I/N", flags.shard,
         "this host's number I, from 0, of N hosts; the last host to finish writes FILE"),
        ("--format", None, str, "layout of the files (default: by their names)"),
    )  # fmt: skip
    flags.columns(many, _COLUMNS, "the files' column")
    many.add_argument(
        "--events", type=flags.ids, metavar="KIND,…", help="keep these kinds of events"
    )


def _run(parser: argparse.ArgumentParser) -> None:
    """Which run, and how it may be asked."""
    parser.add_argument("--model_dir", required=True, metavar="DIR", help="a run's MODEL_DIR")
    flags.add(
        parser,
        ("--most_items", "N", flags.positive,
         "largest number of items that one request may ask for (default: 200); memory and time"
         " grow with its square"),
        ("--repeats", "recommend items of the history too (default: leave them out)"),
        ("--largest_batch", "N", flags.positive,
         "largest number of histories that are decoded together (default: 64; 16 for `serve`)"),
    )  # fmt: skip
    parser.add_argument(
        "--module",
        action="append",
        default=[],
        dest="modules",
        metavar="MODULE",
        help="a module that the run was trained with; its code is imported, and the run's own"
        " files are only read as data",
    )
    parser.add_argument(
        "--model_alone",
        action="store_true",
        help="answer without the prior that the run was evaluated with (FUSION_PRIOR)",
    )
    new = parser.add_argument_group("items that came after training")
    new.add_argument(
        "--new_items",
        metavar="FILE",
        help="a file of items, as `prepare --items` reads it. Items that the catalogue lacks get"
        " semantic IDs from their texts; the model was not trained on them, and answers mark them"
        ' "untrained": true. The dataset must have --item_ids semantic',
    )
    flags.columns(new, [it for it in _ITEM_COLUMNS if it not in _COLUMNS], "the file's column")
    flags.data_dir(parser)


def recommend(options: argparse.Namespace) -> None:
    """The next items after a history, or after each of many."""
    from recalign.trainer.item_index import read_ids

    many = options.all or options.histories is not None
    if many and options.out is None:
        raise UserError("--all and --histories need --out FILE, where the recommendations go")
    also_of_items = () if options.new_items is None else ("format", "item_column")
    for name in () if many else _OF_MANY:
        if getattr(options, name) is not None and name not in also_of_items:
            raise UserError(f"--{name} goes with --all or --histories")
    only = None if options.only is None else read_ids(options.only)
    recommender = _recommender(options)
    if many:
        _export(options, recommender, only)
        return
    if options.jsonl:
        from recalign.trainer import serving, writers

        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="replace")  # bytes that are no text make a bad line
        lines = serving.lines_of(sys.stdin)
        serving.serve(recommender, lines, sys.stdout, writers.say, k=options.k, only=only)
        return
    found = recommender.recommend(options.history, options.k, only)
    if options.json:
        print(json.dumps([item._asdict() for item in found], indent=2, ensure_ascii=False))
        return
    width = max((len(item.id) for item in found), default=0)
    raw = max((len(item.raw_id) for item in found), default=0)
    for item in found:
        mark = "  (untrained)" if item.untrained else ""
        print(f"{item.score:.4f}  {item.id:<{width}}  {item.raw_id:<{raw}}  {item.title}{mark}")


def _recommender(options: argparse.Namespace) -> Recommender:
    from recalign.data.new_items import ItemFile
    from recalign.trainer.recommend import Recommender
    from recalign.trainer.writers import say

    new_items = None
    if options.new_items is not None:
        columns = flags.columns_of(options, _ITEM_COLUMNS)
        new_items = ItemFile(options.new_items, options.format, columns)
    recommender = Recommender(
        options.model_dir,
        repeats=options.repeats,
        data_dir=options.data_dir,
        modules=options.modules,
        model_alone=options.model_alone,
        new_items=new_items,
        **flags.given(options, ("most_items", "largest_batch")),
    )
    for line in recommender.notices:
        say(line)
    return recommender


def _export(options: argparse.Namespace, recommender: Recommender, only: list[str] | None) -> None:
    """Recommends to many users, into a file."""
    from recalign.serve import export, histories
    from recalign.trainer.writers import say

    notices: list[str] = []
    if options.all:
        of = histories.histories_of_dataset(recommender.dataset)
    else:
        of, notices = histories.histories_of_log(
            _log(options, options.histories), recommender.items, recommender.dataset
        )
    exclusions = None
    if options.exclude is not None:
        exclusions, more = histories.exclusions_of_log(
            _log(options, options.exclude), recommender.items, of
        )
        notices += more
    for line in notices:
        say(line)
    exporter = export.Exporter(
        recommender,
        of,
        options.out,
        k=options.k,
        allowed=None if only is None else recommender.items.subset(only),
        exclusions=exclusions,
    )
    if exporter.run(export.Shard(*options.shard) if options.shard else export.Shard(), say):
        say(options.out)


def _log(options: argparse.Namespace, path: str) -> LogSource:
    from recalign.serve.histories import LogSource

    columns = flags.columns_of(options, _COLUMNS)
    return LogSource(path, options.format, columns, options.events or ())


def serve_arguments(parser: argparse.ArgumentParser) -> None:
    """A run, an address, and limits."""
    _run(parser)
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: 127.0.0.1, this machine alone)",
    )
    parser.add_argument(
        "--port",
        type=flags.count,
        default=8000,
        help="port to listen on (default: 8000; 0 for a free one)",
    )
    parser.add_argument(
        "--k",
        type=flags.positive,
        default=10,
        help="number of items if a request does not say (default: 10)",
    )
    flags.add(
        parser,
        ("--subsets", "FILE", str,
         'named sets of IDs, which a request\'s "only" may name: {"in_stock": [ID, …], …}'),
        ("--posted_subsets", "N", flags.positive,
         "let POST /subsets add up to N sets, and replace or remove any (default: not allowed);"
         " needs --token_file unless --host is this machine alone"),
        ("--token_file", "FILE", str,
         "file with the token that every request must send as `Authorization: Bearer …`, except"
         " to /health, /ready and /metrics (default: no token)"),
        ("--format", None, str, "layout of --new_items (default: by the file's name)"),
        ("--item_column", "COLUMN", str, "the column of --new_items with the IDs"),
    )  # fmt: skip
    limits = parser.add_argument_group("limits")
    flags.add(
        limits,
        ("--longest_wait_ms", "MS", flags.number,
         "longest time that a history waits to be decoded with others (default: 5)"),
        ("--most_waiting", "N", flags.positive,
         "largest number of waiting histories; further requests get 503 (default: 1,024)"),
        ("--most_bytes", "N", flags.positive,
         "largest size of a request's body, in bytes (default: 1 MiB)"),
    )  # fmt: skip


def serve(options: argparse.Namespace) -> None:
    """Answers over HTTP."""
    from etils import epath

    try:
        from recalign.serve import application, server
    except ModuleNotFoundError as error:
        raise UserError(
            f"recalign serve needs the package {error.name}: pip install 'recalign[serve]', or"
            " -e '.[serve]' in a clone"
        ) from error
    from recalign.serve.subsets import read_subsets
    from recalign.trainer.writers import say

    names = ("longest_wait_ms", "most_waiting", "most_bytes", "largest_batch", "posted_subsets")
    limits = application.Limits(**flags.given(options, names))
    options.largest_batch = limits.largest_batch
    if limits.longest_wait_ms < 0:
        raise UserError(f"--longest_wait_ms {limits.longest_wait_ms:g}: 0 or more")
    token = None
    if options.token_file is not None:
        token = _read(epath.Path(options.token_file)).strip()
        if not token:
            raise UserError(f"{options.token_file}: empty: it should hold a token")
    if limits.posted_subsets and token is None and not _is_this_machine(options.host):
        raise UserError(
            f"--posted_subsets lets whoever reaches {options.host} change what is answered: give"
            " --token_file FILE, or leave --host out"
        )
    subsets = None
    if options.subsets is not None:
        subsets = read_subsets(_read(epath.Path(options.subsets)), options.subsets)
    # The model takes a while to load: a port that is taken is told before.
    with server.reserve(options.host, options.port) as listening:
        app = application.make_app(
            _recommender(options), k=options.k, subsets=subsets, token=token, limits=limits, say=say
        )
        server.run(app, listening, say)


def _is_this_machine(host: str) -> bool:
    """Whether an address is reached from this machine alone.

    >>> [_is_this_machine(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "web-1")]
    [True, True, True, False, False]
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read(path: epath.Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
