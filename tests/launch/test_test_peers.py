import pytest

# It makes environments with a copy of itself in them, and fails where FAIL's text is asked for.
PYTHON = """#!/usr/bin/env bash
environment=${0%/bin/python}
echo "${environment##*/} $*" >>"$CALLS"
case "$*" in
  "-m venv "*) mkdir -p "$3/bin" "$3/lib/python3.11/site-packages" && cp "$0" "$3/bin/python" ;;
esac
[[ ! -e $FAIL || "$*" != *"$(cat "$FAIL")"* ]]
"""


@pytest.fixture
def prepared(installed):
    (installed.root / ".venv" / "bin" / "python").write_text(PYTHON)
    return installed


def test_an_environment_is_made_once_and_its_tests_run_there(prepared):
    assert prepared.run("test.sh", "--peers", "plan").returncode == 0
    made, path, install, tests = prepared.calls()
    assert made.startswith(".venv -m venv ") and made.endswith("/.venv/peers/plan")
    assert path.startswith(".venv -c ")
    assert install == ("plan -m pip install --quiet --require-hashes -r launch/locks/plan.txt")
    assert tests == "plan -m pytest -rs tests/plan"
    assert prepared.run("test.sh", "--peers", "plan").returncode == 0
    assert prepared.calls() == [tests]


def test_what_could_not_be_made_or_failed_is_said_and_the_others_run(prepared):
    prepared.fail.write_text("torch==")
    outcome = prepared.run("test.sh", "--peers", "torch", "beam")
    assert outcome.returncode == 1
    assert outcome.stderr.splitlines()[-2:] == [
        "test_peers: torch: its environment could not be made (the message is above)",
        "test_peers: beam: passed",
    ]
    assert prepared.calls()[-1] == "beam -m pytest -rs tests/data/beam"
    # What was not finished is made anew.
    prepared.fail.write_text("-rs")
    outcome = prepared.run("test.sh", "--peers", "torch")
    assert outcome.returncode == 1
    assert outcome.stderr.splitlines()[-1] == "test_peers: torch: its tests failed"
    assert any(" install --quiet torch==" in call for call in prepared.calls())


def test_other_names_are_refused(prepared):
    outcome = prepared.run("test.sh", "--peers", "pytorch")
    assert outcome.returncode == 2
    assert (
        outcome.stderr == "test_peers: error: 'pytorch' is none of plan, beam, torch, serve, t5x\n"
    )
    assert prepared.calls() == []
