"""sweep.sh: rows are experiments times seeds; results.json says what is done."""

import shlex
import signal
import subprocess
import time

import pytest

# A run: leaves its results unless the test has it fail, forget them, or last.
PYTHON = """#!/usr/bin/env bash
for argument in "$@"; do
  case $argument in --gin.MODEL_DIR=*) directory=${argument#*=} ;; esac
done
directory=${directory//\\'/}
trap 'echo "saved $directory" >>"$CALLS"; exit 0' TERM
echo "python $*" >>"$CALLS"
if [[ -e $FAIL ]]; then
  read -r row how <"$FAIL"
  if [[ $directory == *"$row" ]]; then
    case $how in
      fails) echo "no such dataset" >&2; exit 2 ;;
      forgets) exit 0 ;;
      saves) exit 75 ;;
      lasts) for _ in {1..400}; do read -rt 0.05 <> <(:) || true; done ;;
    esac
  fi
fi
case $directory in gs://*) directory=$BUCKET/${directory#gs://} ;; esac
mkdir -p "$directory" && echo '{}' >"$directory/results.json"
"""
GCLOUD = """#!/usr/bin/env bash
[[ -e $BUCKET ]] || { echo "ERROR: no credentials" >&2; exit 1; }
file=$BUCKET/${3#gs://}
[[ -e $file ]] || { echo "ERROR: One or more URLs matched no objects." >&2; exit 1; }
"""
SUBMIT = """#!/usr/bin/env bash
echo "submit $*" >>"$CALLS"
exec .venv/bin/python "$@"
"""


@pytest.fixture
def table(installed, tmp_path):
    """A checkout with two experiments and an environment."""
    (installed.root / "gin").mkdir()
    for name in ("a_toys", "b_toys"):
        (installed.root / "gin" / f"{name}.gin").touch()
    (installed.root / ".venv" / "bin" / "python").write_text(PYTHON)
    installed.environment["BUCKET"] = str(tmp_path / "bucket")
    installed.add_command("gcloud", GCLOUD)
    installed.add_command("submit", SUBMIT)
    return installed


TABLE = ("--seeds=0,1", "gin/a_toys.gin", "gin/b_toys.gin")
ROWS = ["a_toys-seed0", "a_toys-seed1", "b_toys-seed0", "b_toys-seed1"]


def rows_of(calls):
    """The MODEL_DIR of every call."""
    return [call.split("--gin.MODEL_DIR=")[1].split("'")[1] for call in calls]


def summary(outcome):
    lines = outcome.stdout.strip().splitlines()
    return {line.split()[0]: line.split()[1] for line in lines}


def test_every_row_runs_and_leaves_its_results(table):
    outcome = table.run("sweep.sh", *TABLE, "--gin.TRAIN_STEPS=5", "--data_dir", "my data")
    assert outcome.returncode == 0, outcome.stderr
    calls = table.calls()
    assert calls[1] == (
        "python -m recalign train --gin_file=gin/a_toys.gin --gin.TRAIN_STEPS=5 "
        "--data_dir=my data --gin.MODEL_DIR='runs/sweep/a_toys-seed1' --gin.RANDOM_SEED=1"
    )
    assert rows_of(calls) == [f"runs/sweep/{row}" for row in ROWS]
    assert all((table.root / "runs" / "sweep" / row / "results.json").exists() for row in ROWS)
    assert summary(outcome) == dict.fromkeys(ROWS, "done")


def test_a_failed_row_does_not_stop_the_others_and_is_tried_again(table):
    table.fail.write_text("a_toys-seed1 fails\n")
    outcome = table.run("sweep.sh", *TABLE)
    assert outcome.returncode == 1
    assert "1 of 4 rows failed" in outcome.stderr
    assert "a_toys-seed1: failed (exit status 2)" in outcome.stderr
    assert summary(outcome) == dict.fromkeys(ROWS, "done") | {"a_toys-seed1": "failed"}
    assert "no such dataset" in (table.root / "runs/sweep/a_toys-seed1.log").read_text()
    table.calls()
    table.fail.unlink()
    again = table.run("sweep.sh", *TABLE)
    assert again.returncode == 0
    assert rows_of(table.calls()) == ["runs/sweep/a_toys-seed1"]
    assert summary(again) == dict.fromkeys(ROWS, "skipped") | {"a_toys-seed1": "done"}


def test_a_row_that_was_told_to_stop_has_not_failed(table):
    table.fail.write_text("b_toys-seed0 saves\n")
    outcome = table.run("sweep.sh", *TABLE)
    assert outcome.returncode == 1
    assert "b_toys-seed0: stopped (its state is saved)" in outcome.stderr
    assert "1 of 4 rows failed or stopped; the same command goes on with them" in outcome.stderr


def test_a_run_that_ends_without_results_has_failed(table):
    table.fail.write_text("b_toys-seed0 forgets\n")
    outcome = table.run("sweep.sh", *TABLE)
    assert outcome.returncode == 1
    assert "b_toys-seed0: failed (it ended without results.json)" in outcome.stderr


def test_rows_go_through_a_launcher(table):
    launcher = ("--", "submit", "--name={row}", "--")
    outcome = table.run("sweep.sh", "--out", "runs/table 1", "gin/a_toys.gin", *launcher)
    assert outcome.returncode == 0, outcome.stderr
    assert table.calls()[0] == (
        "submit --name=a-toys-seed0 -- --gin_file=gin/a_toys.gin "
        "--gin.MODEL_DIR='runs/table 1/a_toys-seed0' --gin.RANDOM_SEED=0"
    )


def test_sizes_of_one_experiment_are_rows_of_one_table(table):
    (table.root / "gin" / "base").mkdir()
    (table.root / "gin" / "base" / "a_toys.gin").touch()
    absolute = str(table.root / "gin" / "base" / "b_toys.gin")
    (table.root / "gin" / "base" / "b_toys.gin").touch()
    outcome = table.run("sweep.sh", "gin/a_toys.gin", "gin/base/a_toys.gin", absolute)
    assert outcome.returncode == 0, outcome.stderr
    rows = ["a_toys-seed0", "base-a_toys-seed0", "base-b_toys-seed0"]
    assert rows_of(table.calls()) == [f"runs/sweep/{row}" for row in rows]
    assert summary(outcome) == dict.fromkeys(rows, "done")


def test_results_on_a_bucket_count(table, tmp_path):
    (tmp_path / "bucket").mkdir()
    out = "--out=gs://b/t/"
    first = table.run("sweep.sh", out, *TABLE)
    assert first.returncode == 0, first.stderr
    assert rows_of(table.calls())[0] == "gs://b/t/a_toys-seed0"
    again = table.run("sweep.sh", out, *TABLE)
    assert summary(again) == dict.fromkeys(ROWS, "skipped")
    assert table.calls() == []


def test_a_bucket_that_does_not_answer_starts_nothing(table):
    outcome = table.run("sweep.sh", "--out=gs://b/t", *TABLE)
    assert outcome.returncode == 1
    assert "no credentials" in outcome.stderr
    assert table.calls() == []


def test_rows_run_side_by_side_when_asked(table):
    table.fail.write_text("a_toys-seed0 fails\n")
    outcome = table.run("sweep.sh", "--jobs=3", *TABLE)
    assert outcome.returncode == 1
    assert summary(outcome) == dict.fromkeys(ROWS, "done") | {"a_toys-seed0": "failed"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_saves_the_row_and_starts_no_other(table, number):
    table.fail.write_text("a_toys-seed0 lasts\n")
    sweep = subprocess.Popen(
        [str(table.bin / "bash"), "launch/sweep.sh", *TABLE],
        cwd=table.root,
        env=table.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not table.calls_file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    sweep.send_signal(number)
    _, errors = sweep.communicate(timeout=60)
    assert sweep.returncode == 130
    assert "interrupted" in errors
    run, saved = table.calls()
    assert rows_of([run]) == ["runs/sweep/a_toys-seed0"]
    assert saved == "saved runs/sweep/a_toys-seed0"


def test_a_dry_run_prints_every_row_as_a_shell_reads_it(table):
    outcome = table.run("sweep.sh", "--dry_run", *TABLE, "--gin.EVAL_TASKS=('a b', \"c\")")
    assert outcome.returncode == 0
    rows = [shlex.split(line) for line in outcome.stdout.splitlines()]
    assert [row[-2] for row in rows] == [f"--gin.MODEL_DIR='runs/sweep/{row}'" for row in ROWS]
    assert rows[0][:-2] == [
        *(".venv/bin/python", "-m", "recalign", "train", "--gin_file=gin/a_toys.gin"),
        "--gin.EVAL_TASKS=('a b', \"c\")",
    ]
    assert table.calls() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no experiment"),
        (("gin/none.gin",), "no such experiment"),
        (("gin/a_toys",), "no experiment file"),
        (("--seeds=0,x", "gin/a_toys.gin"), "no list of whole numbers"),
        (("--seeds=1,01", "gin/a_toys.gin"), "asked for twice"),
        (("--seeds",), "needs a value"),
        (("--jobs=0", "gin/a_toys.gin"), "--jobs"),
        (("--out=it's", "gin/a_toys.gin"), "--out"),
        (("gin/a_toys.gin", "--gin.MODEL_DIR='x'"), "the row's own"),
        (("gin/a_toys.gin", "--spot"), "stand after --"),
        (("gin/a_toys.gin", "--"), "no launcher"),
    ],
)
def test_bad_arguments_are_refused(table, arguments, message):
    outcome = table.run("sweep.sh", *arguments)
    assert outcome.returncode == 2
    assert message in outcome.stderr
    assert outcome.stderr.startswith("sweep: error: ") and outcome.stderr.count("\n") == 1
    assert table.calls() == []


def test_help_shows_an_example(table):
    outcome = table.run("sweep.sh", "--help")
    assert outcome.returncode == 0
    assert "bash launch/sweep.sh --seeds=0,1,2" in outcome.stdout
