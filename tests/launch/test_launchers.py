import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_demo_sets_up_and_runs_the_verb(installed):
    assert installed.run("demo.sh").returncode == 0
    assert installed.calls() == ["python -m recalign demo --seed 0"]


@pytest.mark.parametrize("arguments", [["--seed", "12"], ["--seed=012"]])
def test_a_seed_is_handed_on(installed, arguments):
    assert installed.run("demo.sh", *arguments).returncode == 0
    assert installed.calls() == ["python -m recalign demo --seed 12"]


def test_the_quick_one_is_handed_on_too(installed):
    assert installed.run("demo.sh", "--quick", "--seed", "2").returncode == 0
    assert installed.calls() == ["python -m recalign demo --seed 2 --quick"]
    assert "in runs/demo-quick." in installed.run("demo.sh", "--help").stdout.splitlines()[-1]


def test_out_is_relative_to_where_one_stands(installed, tmp_path):
    assert installed.run("demo.sh", "--out", "my run", cwd=tmp_path).returncode == 0
    assert installed.calls() == [f"python -m recalign demo --seed 0 --out={tmp_path}/my run"]


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


def test_the_demo_fails_where_the_verb_fails(installed):
    installed.fail.write_text("recalign demo")
    assert installed.run("demo.sh").returncode != 0


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
