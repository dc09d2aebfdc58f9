"""Every command of the pages is one that the programs take, and those that take a second are run.

Two pages are run elsewhere: README's walk by tests/test_readme.py, and all of docs/serving.md by
tests/trainer/test_serve_http.py.
"""

import argparse
import functools
import gzip
import json
import re
import subprocess
import tomllib

import pytest

from recalign import cli
from recalign.baselines import systems
from recalign.trainer.experiment import load_experiment
from tests.pages import PAGES, ROOT, blocks, inline_code, name_of, script

# Each prints what it would do and does nothing.
DRY = ("launch/tpu_vm.sh", "launch/gke/submit.sh", "launch/slurm.sbatch", "launch/sweep.sh")
# Of the shell, in docs/serving.md alone, all of which is run.
SHELL = {"curl", "kill", "wait", "until", "server=$!"}
QUICK = ("prepare", "stats", "show", "experiments")
SYNTHETIC = ["--users", "130", "--themes", "3", "--products", "10"]
# What other programs read, and what is the tests' own.
FOREIGN = {"OMP_NUM_THREADS", "PIP_EXTRA_INDEX_URL", "MAY_IMPORT", "RECALIGN_SHARED"}
_THINGS = ("robot", "kite", "train", "owl", "duck")
RUN = [ROOT / f"docs/{name}.md" for name in ("demo", "own_log", "planted", "results")]


@functools.cache
def verbs():
    """The parser of each verb."""
    (subparsers,) = [
        action
        for action in cli.build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    ]
    return subparsers.choices


@functools.cache
def source(*tops):
    """All text of some folders."""
    kinds = {".py", ".gin", ".sh", ".sbatch", ".txt"}
    files = [path for top in tops for path in (ROOT / top).rglob("*") if path.suffix in kinds]
    return "\n".join(path.read_text() for path in files)


def commands(page):
    """(files that its block writes, words) of every command in the page's blocks of shell."""
    return [
        (read.files, words) for read in map(script, blocks(page, "sh")) for words in read.commands
    ]


def parsed(words):
    """What `recalign` makes of a command line, its bindings apart."""
    try:
        plain, bindings = cli._split_gin_bindings(words)
        options = cli.build_parser().parse_args(plain)
    except SystemExit:
        pytest.fail(f"recalign {' '.join(words)}")
    assert hasattr(options, "gin_bindings") or not bindings, words
    return options, bindings


def check_experiment(files, bindings):
    """The files are there, and each binding is of a name that is read, with a value of its type."""
    load_experiment(files, ["MODEL_DIR = 'unused'", *bindings])


def check_recalign(words):
    options, bindings = parsed(words)
    if bindings or getattr(options, "gin_files", ()):
        named = [] if options.verb in ("train", "eval", "plan") else ["MIXTURE_OR_TASK_NAME = 'x'"]
        check_experiment(options.gin_files, [*named, *bindings])
    if options.verb == "baselines":
        systems.resolve(options.models, ("retrieval", "ranking", "rating"), True, options.name)


def check_launcher(words):
    name = next(word for word in words if word.startswith("launch/"))
    flags = words[words.index(name) + 1 :]
    if name in DRY:
        # The flag goes before the run's own, which follow `--`.
        at = flags.index("--") if "--" in flags else len(flags)
        flags = [*flags[:at], "--dry_run", *flags[at:]] if name != DRY[2] else ["--dry_run", *flags]
        run = subprocess.run(["bash", name, *flags], cwd=ROOT, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
    else:
        program = (ROOT / name).read_text()
        assert all(flag.partition("=")[0] in program for flag in flags if flag.startswith("--"))
    own = [flag for flag in flags if flag.startswith("--gin")]
    if files := [flag.partition("=")[2] for flag in own if flag.startswith("--gin_file=")]:
        check_experiment(files, cli._split_gin_bindings(own)[1])


def check_t5x(words):
    plain, bindings = cli._split_gin_bindings(words)
    assert plain[1] in ("t5x.train", "t5x.eval", "t5x.infer")
    flags = dict(word.removeprefix("--").split("=", 1) for word in plain[2:])
    assert set(flags) <= {"gin_file", "gin_search_paths", "tfds_data_dir"}
    check_experiment([flags["gin_file"]], bindings)


def check(words):
    program = words[0]
    if program == "recalign":
        check_recalign(words[1:])
    elif program in ("bash", "sbatch"):
        check_launcher(words)
    elif words[:2] == ["python", "-m"]:
        check_t5x(words[1:])
    else:
        assert program in SHELL, words


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_in_blocks_are_taken(page, tmp_path, monkeypatch):
    for folder in ("gin", "launch", "recalign"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    for files, words in commands(page):
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        check(words)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_stands_inline_is_there(page):
    """Flags of a verb, extras of pip, macros and variables; also of what is half a command."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    everything = source("recalign", "tasks", "gin", "launch")
    dockerfile = (ROOT / "Dockerfile").read_text()
    every_flag = {flag for parser in verbs().values() for flag in parser._option_string_actions}
    for code in inline_code(page):
        words = code.split()
        if words[0] == "docker":
            arguments = re.findall(r"--build-arg (\w+)=", code)
            assert all(f"ARG {name}=" in dockerfile for name in arguments), code
            continue
        for flag in re.findall(r"(?<![\w-])--[a-z]\w*", code):
            said = words[words[0] == "recalign"]
            mine = verbs()[said]._option_string_actions if said in verbs() else every_flag
            assert flag in mine or flag == "--gin" or flag in source("launch"), f"{code}: {flag}"
        if words[0] == "recalign" and len(words) > 1:
            assert words[1] in {*verbs(), "VERB"}, code
        for extra in re.findall(r"pip install .*\[(\w+)\]", code):
            assert extra in extras, code
        names = re.findall(r"^([A-Z][A-Z0-9]*_[A-Z0-9_]+)(?:$| = )", code)
        names += re.findall(r"--gin\.(?:\w+\.)?(\w+)(?:=|$)", code)
        lost = {name for name in names if not re.search(rf"\b{name}\b", everything)} - FOREIGN
        assert not lost, code


def write_logs(folder):
    """The logs that the pages name: 130 users, each with 6 to 8 of 130 items."""
    things = [f"{a} {b} {n}" for n in range(13) for a in ("red", "blue") for b in _THINGS]
    bought = [[(u + step) % 130 for step in range(6 + u % 3)] for u in range(130)]
    lines = [
        (f"u{u}", i, 1_300_000_000 + t) for u, row in enumerate(bought) for t, i in enumerate(row)
    ]
    texts = {
        "toys.sequences.tsv.gz": [
            f"u{u}\t{' '.join(f'raw{i}' for i in row)}" for u, row in enumerate(bought)
        ],
        "toys.items.tsv.gz": [f"raw{i}\t{thing}" for i, thing in enumerate(things)],
        "ratings.csv": [
            "userId,movieId,rating,timestamp",
            *(f"{user[1:]},{item},{1 + (item + when) % 5},{when}" for user, item, when in lines),
        ],
        "movies.csv": [
            "movieId,title,genres",
            *(f"{i},{thing} (1999),Drama|Comedy" for i, thing in enumerate(things)),
        ],
        "reviews_Toys_and_Games_5.json.gz": [
            json.dumps(
                {"reviewerID": user, "asin": f"A{item}", "overall": 4.0, "unixReviewTime": when}
            )
            for user, item, when in lines
        ],
        "meta_Toys_and_Games.json.gz": [
            repr({"asin": f"A{i}", "title": thing}) for i, thing in enumerate(things)
        ],
    }  # fmt: skip
    for name, rows in texts.items():
        with (gzip.open if name.endswith(".gz") else open)(folder / name, "wt") as file:
            file.write("\n".join(rows) + "\n")


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_quick_commands_run_in_their_order(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_logs(tmp_path)
    prepared = 0
    for _, (program, *words) in commands(page):
        if program == "recalign" and words[0] in QUICK:
            size = SYNTHETIC if "synthetic" in words else []
            assert cli.main([*words, *size]) == 0, f"{words}: {capsys.readouterr().err}"
            prepared += words[0] == "prepare"
            assert re.search(r"^(toys|movies|planted) +130 ", capsys.readouterr().out, re.MULTILINE)
    assert prepared
