import pathlib
import shlex
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def verbs(calls: list[str]) -> list[list[str]]:
    """The arguments of every `python -m recalign`."""
    return [shlex.split(call)[3:] for call in calls if call.startswith("python -m recalign ")]


def test_the_demo_prepares_trains_and_reports(installed):
    outcome = installed.run("demo.sh")
    assert outcome.returncode == 0, outcome.stderr
    calls = installed.calls()
    assert [call.split()[3] for call in calls] == ["prepare", "train", "baselines", "report"]
    prepare, train, baselines, page = calls
    assert prepare.endswith("prepare demo --seed 0 --data_dir data")
    assert "--gin_file=gin/ut_at_demo.gin" in train
    assert "--gin.MODEL_DIR='runs/demo'" in train
    assert "--out runs/demo/baselines/results.json" in baselines
    assert page.endswith(
        "report runs/demo runs/demo/baselines --data_dir data --out runs/demo/report.html"
    )
    assert "runs/demo/report.html, after 0 min" in outcome.stdout


@pytest.mark.parametrize("arguments", [["--seed", "12"], ["--seed=012"]])
def test_seeds_share_neither_data_nor_run(installed, arguments):
    assert installed.run("demo.sh", *arguments).returncode == 0
    prepare, train, *_ = installed.calls()
    assert prepare.endswith("prepare demo --seed 12 --data_dir data/seed12")
    assert "--data_dir data/seed12" in train
    assert "--gin.MODEL_DIR='runs/demo-seed12'" in train
    assert "--gin.RANDOM_SEED=12" in train


def test_out_is_relative_to_where_one_stands(installed, tmp_path):
    assert installed.run("demo.sh", "--out", "my run", cwd=tmp_path).returncode == 0
    assert f"--gin.MODEL_DIR='{tmp_path}/my run'" in installed.calls()[1]


@pytest.mark.parametrize(
    "arguments",
    [["--seed"], ["--seed", "x"], ["--seed", "-1"], ["--speed", "3"], ["--out", "it's"], ["now"]],
)
def test_the_demo_refuses_what_it_does_not_know(installed, arguments):
    outcome = installed.run("demo.sh", *arguments)
    assert outcome.returncode == 2
    assert outcome.stderr.startswith("demo: error: ")
    assert outcome.stderr.count("\n") == 1
    assert installed.calls() == []


def test_the_demo_stops_where_a_step_fails(installed):
    installed.fail.write_text("recalign train")
    outcome = installed.run("demo.sh")
    assert outcome.returncode != 0
    assert len(installed.calls()) == 2
    assert "after" not in outcome.stdout


def test_tests_leave_slow_ones_out_unless_asked(installed):
    assert installed.run("test.sh", "tests/model", "-k", "beam search").returncode == 0
    (call,) = installed.calls()
    assert call.startswith("python -m pytest -n 2")
    assert call.endswith("tests/model -k beam search")
    assert "slow" not in call
    assert installed.run("test.sh", "-x", "--slow").returncode == 0
    (call,) = installed.calls()
    assert call.endswith("-m slow or not slow -x")


def test_a_failing_test_fails_the_command(installed):
    installed.fail.write_text("pytest")
    assert installed.run("test.sh").returncode != 0


def test_continuous_integration_runs_the_readmes_test_command():
    assert "bash launch/test.sh" in (ROOT / "README.md").read_text()
    assert "bash launch/test.sh" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("name", ["launch/setup.sh", "launch/demo.sh", "launch/test.sh", ".ci/run"])
def test_scripts_parse_and_are_strict(name):
    script = ROOT / name
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
    assert "set -euo pipefail" in script.read_text()
    assert script.stat().st_mode & 0o111
